// Judging by keyboard: keys press the buttons that the page has, seconds count while it is looked at, and what went wrong is said.
"use strict";

const place = () => document.getElementById("judging");
const help = document.getElementById("help");

// seconds in which the pair was in sight
const clock = {
  spent: 0,
  from: null,
  start() { this.from = document.hidden ? null : performance.now(); },
  stop() {
    if (this.from !== null) this.spent += performance.now() - this.from;
    this.from = null;
  },
  again() {
    this.spent = 0;
    this.start();
  },
  seconds() {
    this.stop();
    this.start();
    return (this.spent / 1000).toFixed(2);
  },
};
document.addEventListener("visibilitychange", () => (document.hidden ? clock.stop() : clock.start()));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || help?.open) return;
  const writing = event.target.closest("input:not([type=checkbox]), textarea, select");
  if (writing) {
    if (event.key === "Escape" && writing.matches("textarea")) place().focus({ preventScroll: true });
    return;
  }
  if (event.target.closest("canvas") && /^(Arrow|[+=-])/.test(event.key)) return;
  const wanted = place().querySelector(`[data-key~="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!wanted) return;
  event.preventDefault();
  if (wanted.matches("textarea")) wanted.focus();
  else if (wanted.matches("details")) wanted.open = !wanted.open;
  else wanted.click();
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-help]")) help.showModal();
});

// before htmx reads the form: it listens at the form itself
document.addEventListener("submit", (event) => {
  const seconds = event.target.querySelector("[data-seconds]");
  if (seconds) seconds.value = clock.seconds();
}, true);

// 3D stays open from pair to pair
const begin = () => {
  clock.again();
  const bodies = place().querySelector("[data-open]");
  if (bodies) {
    bodies.open = sessionStorage.getItem("bodies") === "open";
    bodies.addEventListener("toggle", () => sessionStorage.setItem("bodies", bodies.open ? "open" : ""));
  }
  (place().querySelector("[data-first]") ?? place()).focus({ preventScroll: true });
};
document.addEventListener("htmx:afterSwap", begin);
begin();

const tell = (text) => {
  const problem = place().querySelector("[data-problem]");
  problem.textContent = text;
  problem.hidden = false;
};
document.addEventListener("htmx:beforeRequest", () => { place().querySelector("[data-problem]").hidden = true; });
document.addEventListener("htmx:sendError", () => tell("The server does not answer: start adhmr browse again, open its link in another tab, and press the key again here. What was sent counts once."));
document.addEventListener("htmx:responseError", (event) => {
  const { xhr } = event.detail;
  if (xhr.status === 401) {
    tell("The server was started anew: open the link that it printed in another tab, and press the key again here. What was sent counts once.");
    return;
  }
  const page = new DOMParser().parseFromString(xhr.responseText, "text/html");
  tell(page.querySelector(".problem")?.textContent ?? xhr.responseText.slice(0, 300));
});
