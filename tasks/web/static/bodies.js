// Two bodies side by side, with the photograph behind: three.js in the camera that the crop was seen by.
// Where meshes come from is the page's to say: `adhmr browse` asks its server, a report has them in itself.
import * as THREE from "three";
import { OrbitControls } from "/static/vendor/OrbitControls.js";

const COLOURS = { winner: 0x59bf73, loser: 0xe66659, label: 0xf2d34a, policy: 0x6699e6 };
const TURN = Math.PI / 24;
const NEAR = 0.1;
const FAR = 200;

// `points` (V * 3) metres of the camera frame, `faces` (F * 3), `camera` [fx, fy, cx, cy, side of the crop] in pixels
export function body(points, faces, [fx, fy, cx, cy, size]) {
  // the camera frame has y down and z away; three.js has y up and looks along -z
  for (let at = 0; at < points.length; at += 3) {
    points[at + 1] *= -1;
    points[at + 2] *= -1;
  }
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.BufferAttribute(points, 3));
  geometry.setIndex(new THREE.BufferAttribute(faces, 1));
  geometry.computeVertexNormals();
  return { geometry, camera: { fx, fy, cx, cy, size } };
}

class View {
  constructor(figure, bodyOf, photo, say) {
    this.figure = figure;
    this.canvas = figure.querySelector("canvas");
    this.choice = figure.querySelector("[data-mesh-choice]");
    this.bodyOf = bodyOf;
    this.say = say;
    this.renderer = new THREE.WebGLRenderer({ canvas: this.canvas, antialias: true, preserveDrawingBuffer: true });
    this.renderer.setClearColor(0x59636b);
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(40, 1, NEAR, FAR);
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0x667077, 1.6));
    const light = new THREE.DirectionalLight(0xffffff, 1.8);
    light.position.set(-2, 3, 3.5);
    this.scene.add(light);
    this.material = new THREE.MeshStandardMaterial({ color: COLOURS[figure.dataset.colour], roughness: 0.75, side: THREE.DoubleSide });
    this.body = new THREE.Mesh(new THREE.BufferGeometry(), this.material);
    this.label = new THREE.Mesh(new THREE.BufferGeometry(), new THREE.MeshStandardMaterial({ color: COLOURS.label, transparent: true, opacity: 0.5, side: THREE.DoubleSide, depthWrite: false }));
    this.label.visible = false;
    this.backdrop = new THREE.Mesh(new THREE.PlaneGeometry(1, 1), new THREE.MeshBasicMaterial({ side: THREE.DoubleSide, toneMapped: false }));
    this.backdrop.visible = false;
    this.scene.add(this.backdrop, this.body, this.label);
    this.photo = photo;
    this.controls = new OrbitControls(this.camera, this.canvas);
    this.controls.enablePan = false;
    this.controls.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  async show() {
    const chosen = this.choice.selectedOptions[0];
    if (!chosen) return;
    try {
      const { geometry, camera } = await this.bodyOf(chosen.dataset.mesh);
      if (chosen !== this.choice.selectedOptions[0]) return;
      this.before(chosen.dataset.photo ?? this.photo);
      this.body.geometry.dispose();
      this.body.geometry = geometry;
      this.seen = camera;
      geometry.computeBoundingSphere();
      this.centre = geometry.boundingSphere.center.clone();
      this.radius = geometry.boundingSphere.radius;
      this.front();
      this.canvas.dataset.shown = chosen.value;
    } catch (error) {
      this.say(error.message);
    }
  }

  // lays a photograph behind the body, if it is not there
  before(photo) {
    if (photo === this.shownPhoto) return;
    this.shownPhoto = photo;
    new THREE.TextureLoader().load(photo, (texture) => {
      if (photo !== this.shownPhoto) return;
      texture.colorSpace = THREE.SRGBColorSpace;
      this.backdrop.material.map?.dispose();
      this.backdrop.material.map = texture;
      this.backdrop.material.needsUpdate = true;
      this.draw();
    });
  }

  // where the crop's camera was: there the body lies over the photograph as in the overlays
  front() {
    if (!this.seen) return;
    const { fx, fy, cx, cy, size } = this.seen;
    this.controls.target.copy(this.centre);
    this.camera.position.set(0, 0, 0);
    const distance = -this.centre.z + this.radius * 1.5;
    this.backdrop.scale.set((size / fx) * distance, (size / fy) * distance, 1);
    this.backdrop.position.set(((size / 2 - cx) / fx) * distance, -((size / 2 - cy) / fy) * distance, -distance);
    // OrbitControls looks at its target; the crop is a window of that view, off its middle
    this.camera.lookAt(this.centre);
    this.frame();
    following = true; // the other view has a camera of its own
    this.controls.update();
    following = false;
    this.draw();
  }

  // the crop as a part of what a camera sees that looks at the body: turned, so that its own axes are those of the view
  frame() {
    const { fx, cx, cy, fy, size } = this.seen;
    const left = (-cx / fx) * NEAR;
    const right = ((size - cx) / fx) * NEAR;
    const top = (cy / fy) * NEAR;
    const bottom = (-(size - cy) / fy) * NEAR;
    this.projection = new THREE.Matrix4().makePerspective(left, right, top, bottom, NEAR, FAR);
    this.home = { position: this.camera.position.clone(), quaternion: this.camera.quaternion.clone() };
  }

  draw() {
    if (!this.home) return;
    const side = Math.max(1, Math.round(this.canvas.clientWidth * devicePixelRatio));
    if (this.canvas.width !== side || this.canvas.height !== side) this.renderer.setSize(side, side, false);
    // how the view was turned since it stood at the crop's camera turns that camera around the body
    const turned = this.camera.quaternion.clone().multiply(this.home.quaternion.clone().invert());
    const nearness = this.home.position.distanceTo(this.centre) / this.camera.position.distanceTo(this.centre);
    const eye = new THREE.PerspectiveCamera();
    eye.position.copy(this.home.position).sub(this.centre).divideScalar(nearness).applyQuaternion(turned).add(this.centre);
    eye.quaternion.copy(turned);
    eye.projectionMatrix.copy(this.projection);
    eye.projectionMatrixInverse.copy(this.projection).invert();
    eye.updateMatrixWorld();
    this.renderer.render(this.scene, eye);
    this.canvas.dataset.turn = turned.toArray().map((value) => value.toFixed(3)).join(" ");
  }

  turn(aside, up) {
    const offset = this.camera.position.clone().sub(this.centre);
    const place = new THREE.Spherical().setFromVector3(offset);
    place.theta -= aside;
    place.phi = Math.min(Math.PI - 0.05, Math.max(0.05, place.phi - up));
    this.camera.position.setFromSpherical(place).add(this.centre);
    this.controls.update();
  }

  end() {
    this.controls.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
  }

  nearer(factor) {
    this.camera.position.sub(this.centre).multiplyScalar(factor).add(this.centre);
    this.controls.update();
  }
}

// `bodyOf(name)` gives the `body` of what stands in data-mesh of an option, or in data-label of the place or an option;
// a photograph is data-photo of either
export function start(place, bodyOf) {
  const section = place.closest("section");
  const words = section.querySelector("[data-words]");
  const say = (text) => { words.textContent = text; };
  let views;
  try {
    views = Object.fromEntries([...place.querySelectorAll("[data-side]")].map((figure) => [figure.dataset.side, new View(figure, bodyOf, place.dataset.photo, say)]));
  } catch (error) {
    say(`This browser draws no 3D: ${error.message}`);
    return [];
  }
  const both = Object.values(views);
  for (const view of both) {
    const other = both.find((one) => one !== view);
    view.choice.addEventListener("change", () => { view.show(); showLabel(view); });
    // both turn together
    view.controls.addEventListener("change", () => follow(view, other));
    view.canvas.addEventListener("keydown", (event) => {
      const turns = { ArrowLeft: [-TURN, 0], ArrowRight: [TURN, 0], ArrowUp: [0, TURN], ArrowDown: [0, -TURN] }[event.key];
      const factor = { "+": 0.9, "=": 0.9, "-": 1 / 0.9 }[event.key];
      if (turns) view.turn(...turns);
      else if (factor) view.nearer(factor);
      else return;
      event.preventDefault();
    });
  }
  section.querySelector("[data-front]").addEventListener("click", () => both.forEach((view) => view.front()));
  const withPhoto = section.querySelector("[data-with-photo]");
  const photo = () => both.forEach((view) => { view.backdrop.visible = withPhoto.checked; view.draw(); });
  withPhoto.addEventListener("change", photo);
  photo();
  const withLabel = section.querySelector("[data-with-label]");
  const showLabel = async (view) => {
    const name = view.choice.selectedOptions[0]?.dataset.label ?? place.dataset.label;
    view.label.visible = Boolean(withLabel?.checked && name);
    try {
      if (view.label.visible && view.labelled !== name) {
        view.label.geometry = (await bodyOf(name)).geometry;
        view.labelled = name;
      }
      view.draw();
    } catch (error) {
      view.label.visible = false;
      say(error.message);
    }
  };
  withLabel?.addEventListener("change", () => both.forEach(showLabel));
  for (const button of document.querySelectorAll("[data-show]")) {
    button.addEventListener("click", () => {
      const view = views[button.dataset.show];
      view.choice.value = button.dataset.value;
      view.choice.dispatchEvent(new Event("change"));
      place.scrollIntoView({ block: "nearest" });
    });
  }
  // meshes are drawn by a process of their own: only once they are looked at
  const seen = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      seen.disconnect();
      both.forEach((view) => view.show());
    }
  }, { rootMargin: "200px" });
  seen.observe(place);
  return both;
}

let following = false;
function follow(view, other) {
  if (following || !other?.home || !view.home) return;
  following = true;
  // as near as this one, in terms of where each began: bodies may stand at different depths
  const offset = view.camera.position.clone().sub(view.centre);
  const nearness = offset.length() / view.home.position.distanceTo(view.centre);
  offset.setLength(nearness * other.home.position.distanceTo(other.centre));
  other.camera.position.copy(offset.add(other.centre));
  other.controls.update();
  other.draw();
  following = false;
}
