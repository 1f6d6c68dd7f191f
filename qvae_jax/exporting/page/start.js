// A classic script, which runs from any address: the page's modules a browser takes from a web server only.

if (location.protocol === "file:") {
  document.getElementById("unserved").hidden = false;
  for (const part of document.querySelectorAll("header, main, footer")) part.hidden = true;
} else {
  import("./main.js");
}
