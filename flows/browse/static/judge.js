// Judging by keyboard: keys press the buttons that the page has, each about the pair that was seen when it was pressed;
// seconds count while that is looked at, and what went wrong is said.
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

// nobody answers to a picture sooner: what is pressed until then is about the pair before
const REACTION_MS = 150;
let under = null; // what is on its way: "verdict", or "go" for all else
let brought = null; // and what brought the page that is there
let arrived = 0;
let judged = {}; // the form of the last verdict
let held = []; // what was pressed while something was on its way, in this order

// a pair counts as seen once both bodies are there, for as long as it takes to see them
const look = (judging) => {
  arrived = performance.now();
  clock.stop();
  clock.spent = 0;
  const bodies = [...judging.querySelectorAll(".trio figure:not(.photo) img")];
  const drawn = bodies.map((one) => one.complete || new Promise((done) => { one.onload = one.onerror = done; }));
  const waits = judging.querySelector("[data-waits]");
  const timer = setTimeout(() => { if (waits) waits.hidden = false; }, 1000);
  Promise.all(drawn).then(() => {
    clearTimeout(timer);
    if (waits) waits.hidden = true;
    if (judging !== place()) return;
    const widths = bodies.map((one) => one.naturalWidth);
    if (widths.some((width) => width < 2)) {
      judging.dataset.unseen = widths.includes(1)
        ? "A body of this pair can't be drawn; the picture in its place says why. So nothing can be said of the pair: j goes on."
        : "A body of this pair did not come: the server does not answer, or was started anew. Open the link that it prints in another tab, then this page anew.";
      tell(judging.dataset.unseen);
      return;
    }
    clock.again();
    setTimeout(() => { judging.dataset.seen = ""; }, REACTION_MS);
  });
};

// which pair a verdict is about that is pressed now: this one, the one before, or none
const about = () => {
  if (under) return under === "verdict" ? "before" : "none";
  if ("seen" in place().dataset) return "this";
  return brought === "verdict" && performance.now() - arrived < REACTION_MS ? "before" : "none";
};

const press = (one) => {
  if ("key" in one) {
    place().querySelector(`[data-key="${CSS.escape(one.key)}"]`)?.click();
  } else if ("note" in one) {
    const note = place().querySelector("textarea");
    note?.focus();
    note?.setRangeText(one.note, note.selectionStart, note.selectionEnd, "end");
  } else if (one.verdict !== judged.verdict) {
    const values = judged = { ...judged, verdict: one.verdict, review: crypto.randomUUID().replaceAll("-", "") };
    const swap = "outerHTML show:none settle:0ms";
    htmx.ajax("POST", "/judge", { source: place(), target: "#judging", select: "#judging", swap, values });
  }
};
const pressHeld = () => {
  while (held.length && !under) press(held.shift());
};

document.addEventListener("click", (event) => {
  const wanted = event.target.closest("#judging form [data-key]:is(a, button):not([data-help])");
  if (!wanted) return;
  const pair = wanted.name === "verdict" ? about() : "this";
  if (pair === "this" && !under) return;
  event.preventDefault();
  event.stopPropagation();
  if (pair === "none") tell(place().dataset.unseen ?? "That was pressed before this pair was to be seen, so it was said of none. Press it again.");
  else held.push(pair === "before" ? { verdict: wanted.value } : { key: wanted.dataset.key });
  pressHeld();
}, true);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || help?.open) return;
  const writing = event.target.closest("input:not([type=checkbox]), textarea, select");
  if (writing) {
    if (event.key === "Escape" && writing.matches("textarea")) place().focus({ preventScroll: true });
    return;
  }
  if (event.target.closest("canvas") && /^(Arrow|[+=-])/.test(event.key)) return;
  const wanted = place().querySelector(`[data-key~="${CSS.escape(event.key.toLowerCase())}"]`);
  const writes = held.at(-1); // a note, which has no field yet
  if (writes && "note" in writes && event.key.length === 1) {
    writes.note += event.key;
    return;
  }
  if (!wanted) return;
  event.preventDefault();
  if (wanted.matches("textarea") && under) {
    held.push({ note: "" });
    return;
  }
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
  judged = Object.fromEntries(new FormData(event.target, event.submitter));
}, true);

// 3D stays open from pair to pair
const begin = () => {
  look(place());
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
document.addEventListener("htmx:beforeRequest", (event) => {
  place().querySelector("[data-problem]").hidden = true;
  const { path, verb } = event.detail.requestConfig;
  under = verb === "post" && path === "/judge" ? "verdict" : "go";
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful) brought = under;
  else held = [];
  under = null;
  setTimeout(pressHeld); // once htmx is done with this one
});
for (const name of ["htmx:sendError", "htmx:responseError"]) {
  document.addEventListener(name, (event) => {
    const { xhr } = event.detail;
    tell(refusal(xhr.status, xhr.responseText, "press the key again here. What was sent counts once"));
  });
}
