// What a report does by itself: meanings of measures, the people's lists and sliders, pictures enlarged, bodies in 3D.
"use strict";

(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // what a measure means, where the pointer or the focus is; the sentences stand in the page's own list
  const meaning = document.getElementById("meaning");
  const tell = (term) => {
    const texts = term.getAttribute("aria-describedby").split(" ").map((id) => {
      const sentence = document.getElementById(id);
      return `${sentence.previousElementSibling.textContent}: ${sentence.textContent}`;
    });
    meaning.textContent = texts.join("\n");
    meaning.hidden = false;
    const place = term.getBoundingClientRect();
    const left = Math.min(place.left, document.documentElement.clientWidth - meaning.offsetWidth - 8);
    meaning.style.left = `${Math.max(8, left) + scrollX}px`;
    meaning.style.top = `${place.bottom + 6 + scrollY}px`;
  };
  const hush = () => { meaning.hidden = true; };
  for (const term of all(".term")) {
    term.addEventListener("pointerenter", () => tell(term));
    term.addEventListener("focus", () => tell(term));
    term.addEventListener("pointerleave", hush);
    term.addEventListener("blur", hush);
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hush(); });

  // before and after under a slider, made of the two pictures that are there
  for (const person of all(".person")) {
    const [before, after] = ["before", "after"].map((name) => person.querySelector(`[data-view=${name}] img`));
    const compare = document.createElement("div");
    compare.className = "compare";
    const stack = document.createElement("div");
    stack.className = "stack";
    for (const [name, picture] of [["under", before], ["over", after]]) {
      const copy = new Image();
      copy.className = name;
      copy.src = picture.src;
      copy.alt = `${name === "under" ? "at the left" : "at the right"}: ${picture.alt}`;
      stack.append(copy);
    }
    const cut = document.createElement("input");
    Object.assign(cut, { type: "range", min: 0, max: 100, value: 50 });
    cut.dataset.cut = "";
    cut.setAttribute("aria-label", `How much of the picture before is seen, ${person.dataset.person}`);
    const ends = document.createElement("p");
    ends.className = "ends";
    for (const picture of [before, after]) {
      const word = document.createElement("span");
      word.textContent = picture.closest("[data-view]").firstElementChild.nextSibling.textContent;
      ends.append(word);
    }
    compare.append(stack, cut, ends);
    person.prepend(compare);
    slide(compare);
  }

  // who is shown, and in which order
  const choices = document.querySelector("[data-choices]");
  const people = document.querySelector("[data-people]");
  if (choices) {
    const [list, by, descending, said] = ["list", "by", "descending", "said"].map((name) => choices.querySelector(`[data-${name}]`));
    const figures = all(".person", people);
    const orders = { improved: ["change", false], worsened: ["change", true], disputed: ["disagreement", true], first: ["person", false] };
    const show = () => {
      const shown = figures.filter((one) => !list.value || one.dataset.lists.split(" ").includes(list.value));
      const value = (one) => (by.value === "person" ? one.dataset.person : Number(one.dataset[by.value] ?? NaN));
      const sign = descending.checked ? -1 : 1;
      shown.sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
        return a < b ? -sign : a > b ? sign : 0;
      });
      for (const one of figures) one.hidden = !shown.includes(one);
      people.append(...shown);
      said.textContent = `${shown.length} people, by ${by.selectedOptions[0].textContent}`;
    };
    list.addEventListener("change", () => {
      if (orders[list.value]) [by.value, descending.checked] = orders[list.value];
      show();
    });
    by.addEventListener("change", show);
    descending.addEventListener("change", show);
    choices.hidden = false;
    show();
    // on paper everybody stands
    addEventListener("beforeprint", () => figures.forEach((one) => { one.hidden = false; }));
    addEventListener("afterprint", show);
  }

  // any picture, enlarged; its neighbours by the arrow keys
  const zoom = document.getElementById("zoom");
  const [large, words] = [zoom.querySelector("img"), zoom.querySelector("p")];
  let pictures = [];
  let place = 0;
  const look = (at) => {
    place = (at + pictures.length) % pictures.length;
    const picture = pictures[place];
    large.src = picture.src;
    large.alt = picture.alt;
    const figure = picture.closest("figure");
    words.textContent = `${picture.closest(".strip > div").innerText.replace(/\s+/g, " ").trim()} · ${figure.querySelector("figcaption").innerText.replace(/\s+/g, " ").trim()}`;
  };
  for (const button of all(".zoom")) {
    button.addEventListener("click", () => {
      pictures = all(".zoom img", button.closest("figure"));
      look(pictures.indexOf(button.querySelector("img")));
      zoom.showModal();
    });
  }
  for (const button of all("[data-step]", zoom)) button.addEventListener("click", () => look(place + Number(button.dataset.step)));
  zoom.querySelector("[data-close]").addEventListener("click", () => zoom.close());
  zoom.addEventListener("click", (event) => { if (event.target === zoom) zoom.close(); });
  zoom.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) look(place + step);
  });

  // bodies, out of what stands in the page
  const room = document.querySelector("[data-bodies]");
  if (room) {
    const packed = JSON.parse(document.getElementById("packed").textContent);
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
    const faces = packed.faces.bits === 32 ? new Uint32Array(bytes(packed.faces.data)) : new Uint16Array(bytes(packed.faces.data));
    const unpacked = (name) => {
      const [view, ...rest] = name.split(" ");
      const { camera, meshes } = packed.people[rest.join(" ")];
      const { low, step, data } = meshes[view];
      const points = Float32Array.from(new Uint16Array(bytes(data)), (number, at) => low[at % 3] + step[at % 3] * number);
      return module_bodies_js.body(points, faces, camera);
    };
    const photos = new Map(all(".person").map((person) => [person.dataset.person, person.querySelector(".strip img").src]));
    const [left, right] = all("[data-mesh-choice]", room);
    for (const option of [...left.options, ...right.options]) option.dataset.photo = photos.get(option.value.split(" ").slice(1).join(" ")) ?? "";
    const posed = document.querySelector("[data-posed]");
    const choose = (name) => {
      posed.value = name;
      for (const [side, wanted] of [[left, "before"], [right, "after"]]) {
        const own = [...side.options].filter((option) => option.value.endsWith(` ${name}`));
        side.value = (own.find((option) => option.value.startsWith(wanted)) ?? own[0]).value;
        side.dispatchEvent(new Event("change"));
      }
    };
    choose(posed.options[0].value);
    module_bodies_js.start(room, unpacked);
    posed.addEventListener("change", () => choose(posed.value));
    for (const button of all("[data-turn]")) {
      button.addEventListener("click", () => {
        choose(button.dataset.turn);
        document.getElementById("bodies").scrollIntoView();
        posed.focus();
      });
    }
  }
})();
