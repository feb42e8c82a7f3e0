// Files from a drop, the clipboard or the picker all go through the one uploader.
function acceptFiles(uploaderId, zoneId) {
  const uploader = () => getElement(uploaderId).$refs.qRef;
  const zone = getHtmlElement(zoneId);
  const take = files => {
    if (!files.length) return;
    uploader().reset();
    uploader().addFiles([files[0]]);
  };
  const over = on => event => { event.preventDefault(); zone.classList.toggle("over", on); };
  document.addEventListener("dragover", over(true));
  document.addEventListener("dragleave", over(false));
  document.addEventListener("drop", event => {
    over(false)(event);
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", event => take(event.clipboardData.files));
  zone.addEventListener("click", () => { uploader().reset(); uploader().pickFiles(); });
  zone.addEventListener("keydown", event => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); zone.click(); }
  });
  zone.dataset.ready = "yes";
}
