// Files from a drop, the clipboard or the picker all go through the one uploader.
function acceptFiles(uploaderId, zoneId) {
  const uploader = () => getElement(uploaderId).$refs.qRef;
  const zone = getHtmlElement(zoneId);
  const uploadFirst = files => {
    if (!files.length) return;
    uploader().reset();
    uploader().addFiles([files[0]]);
  };
  const highlightZone = isOver => event => {
    event.preventDefault();
    zone.classList.toggle("dragover", isOver);
  };
  document.addEventListener("dragover", highlightZone(true));
  document.addEventListener("dragleave", highlightZone(false));
  document.addEventListener("drop", event => {
    highlightZone(false)(event);
    uploadFirst(event.dataTransfer.files);
  });
  document.addEventListener("paste", event => uploadFirst(event.clipboardData.files));
  zone.addEventListener("click", () => { uploader().reset(); uploader().pickFiles(); });
  zone.addEventListener("keydown", event => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); zone.click(); }
  });
  zone.dataset.ready = "true";
}
