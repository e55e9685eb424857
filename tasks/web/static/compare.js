// Two pictures, one over the other: the upper one is cut off at the slider's place.
"use strict";

function slide(compare) {
  const stack = compare.querySelector(".stack");
  const cut = compare.querySelector("[data-cut]");
  stack.classList.add("cut");
  const place = () => stack.style.setProperty("--cut", `${cut.value}%`);
  cut.addEventListener("input", place);
  place();
}
