"""The judge: a candidate recipe races an incumbent, and the record book keeps every claim."""
