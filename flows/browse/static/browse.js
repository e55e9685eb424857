// What pages do by themselves: forms that send themselves, the sliders of a person, tabs, and what is said when a list changes.
"use strict";

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

for (const form of all("form[data-submit]")) {
  form.addEventListener("change", () => form.requestSubmit());
}

for (const compare of all("[data-compare]")) {
  slide(compare);
  for (const [name, image, side] of [["under", ".under", "left"], ["over", ".over", "right"]]) {
    const choice = compare.querySelector(`[data-${name}]`);
    choice.addEventListener("change", () => {
      const chosen = choice.selectedOptions[0];
      const shown = compare.querySelector(image);
      shown.src = chosen.dataset.picture;
      shown.alt = `at the ${side}: ${chosen.textContent}`;
    });
  }
}

// the sampler's steps: how many there are comes with the first picture
for (const steps of all("[data-steps]")) {
  const slider = steps.querySelector("[data-step]");
  const sample = steps.querySelector("[data-sample]");
  const picture = steps.querySelector("[data-picture]");
  const words = steps.querySelector("[data-words]");
  let wanted = 0;
  const show = async () => {
    const turn = ++wanted;
    const url = `${steps.dataset.steps}&sample=${sample.value}&step=${slider.value}`;
    const answer = await fetch(url).catch(() => Response.error());
    const text = answer.headers.has("X-Timesteps") ? "" : await answer.text();
    if (turn !== wanted) return;
    const told = answer.headers.get("X-Timesteps");
    if (told === null) {
      words.textContent = refusal(answer.status, text, "move the slider once more here");
      return;
    }
    const timesteps = JSON.parse(told);
    slider.max = timesteps.length - 1;
    const at = Math.min(Number(slider.value), timesteps.length - 1);
    picture.src = url;
    words.textContent = `Step ${at + 1} of ${timesteps.length}, timestep ${timesteps[at]}`;
    slider.setAttribute("aria-valuetext", words.textContent);
  };
  slider.addEventListener("input", show);
  sample.addEventListener("change", show);
  // sampling starts a process: only once the steps are looked at
  const seen = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      seen.disconnect();
      show();
    }
  });
  seen.observe(steps);
}

for (const tabs of all("[data-tabs]")) {
  const buttons = all("[role=tab]", tabs);
  const choose = (chosen) => {
    for (const button of buttons) {
      const isChosen = button === chosen;
      button.setAttribute("aria-selected", String(isChosen));
      button.tabIndex = isChosen ? 0 : -1;
      document.getElementById(button.getAttribute("aria-controls")).hidden = !isChosen;
    }
    document.dispatchEvent(new CustomEvent("tab", { detail: chosen.id }));
  };
  for (const button of buttons) button.addEventListener("click", () => choose(button));
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    next.focus();
    choose(next);
  });
}

for (const form of all("form[data-ask]")) {
  const text = form.querySelector("textarea");
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.querySelector("[data-example]").addEventListener("change", (event) => {
    if (event.target.value) text.value = event.target.value;
  });
}

// why nothing came of what was asked for, and what to do then
function refusal(status, text, again) {
  if (!status) return `The server does not answer: start adhmr browse again, open its link in another tab, and ${again}.`;
  if (status === 401) return `The server was started anew: open the link that it printed in another tab, and ${again}.`;
  const said = new DOMParser().parseFromString(text, "text/html").querySelector(".problem, svg title"); // of a page or a picture
  if (said) return said.textContent;
  return status < 500 ? text.slice(0, 300) : "The server met a defect, which the terminal shows that it runs in.";
}

// pictures of the list that goes would be waited for: a browser has but six requests to a server on their way
document.addEventListener("htmx:beforeRequest", (event) => {
  if (!event.detail.target.matches("#found, #main")) return;
  for (const picture of all("img", event.detail.target)) if (!picture.complete) picture.removeAttribute("src");
});

// it is said in the place of the list or the answer: what stood there was the answer to another question
for (const name of ["htmx:sendError", "htmx:responseError"]) {
  document.addEventListener(name, (event) => {
    const { target, xhr } = event.detail;
    if (target.id === "judging") return; // the judge's page says it beside the pair
    const words = document.createElement("p");
    words.className = "problem";
    words.setAttribute("role", "alert");
    words.textContent = refusal(xhr.status, xhr.responseText, "try once more here");
    (target.id === "main" ? document.getElementById("found") : target).replaceChildren(words);
  });
}
document.addEventListener("htmx:afterSwap", () => {
  const count = document.querySelector("#found .count");
  if (count) document.getElementById("said").textContent = count.textContent;
});
