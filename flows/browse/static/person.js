// The bodies of a person's page, from the server.
import { body, start } from "/static/shared/bodies.js";

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error("This body can't be drawn: it is not in the store, or the body model of its policy is not.");
  const data = await answer.arrayBuffer();
  const [vertices, faces] = new Uint32Array(data, 0, 2);
  const points = new Float32Array(data, 8, vertices * 3).slice();
  return body(points, new Uint32Array(data, 8 + vertices * 12, faces * 3), JSON.parse(answer.headers.get("X-Camera")));
}

// a page may be exchanged for another in its place: what drew the old bodies is given back, as a browser has few of them
let drawing = [];
function begin() {
  const room = document.querySelector("[data-bodies]:not([data-begun])");
  for (const view of drawing.filter((one) => !one.canvas.isConnected)) view.end();
  drawing = drawing.filter((one) => one.canvas.isConnected);
  if (!room) return;
  const closed = room.closest("details:not([open])");
  if (closed) {
    closed.addEventListener("toggle", begin, { once: true });
    return;
  }
  room.dataset.begun = "";
  drawing.push(...start(room, fetched));
}
document.addEventListener("htmx:afterSwap", begin);
begin();
