// @ts-check
// Shows content only while it is asked for. Nothing is fetched before that.

import { isForUs } from "./keys.js";

const stage = /** @type {HTMLElement} */ (document.getElementById("stage"));
const hint = /** @type {HTMLElement} */ (document.getElementById("hint"));
const colour = /** @type {HTMLInputElement} */ (document.getElementById("colour"));
const reason = /** @type {HTMLSelectElement} */ (document.getElementById("reason"));
const mayLook = stage.dataset.mayLook === "yes";

/** @type {Promise<HTMLElement> | null} */
let loading = null;
let since = 0;

/** The content as an element that makes no sound, fetched at most once a page. */
async function load() {
  const response = await fetch("/review/content", {
    method: "POST", credentials: "same-origin",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ key: stage.dataset.key }),
  });
  if (!response.ok) throw new Error((await response.json()).message);
  const blob = await response.blob();
  const video = blob.type.startsWith("video/");
  const shown = document.createElement(video ? "video" : "img");
  if (shown instanceof HTMLVideoElement) {
    shown.muted = true;
    shown.loop = true;
    shown.playsInline = true;
    shown.disablePictureInPicture = true;
  } else {
    shown.alt = "";
    shown.draggable = false;
  }
  shown.src = URL.createObjectURL(blob);
  return shown;
}

async function fetched() {
  try {
    loading ??= load();
    const shown = await loading;
    if (!shown.isConnected) stage.replaceChildren(shown);
    return shown;
  } catch (error) {
    loading = null;
    hint.textContent = error instanceof Error ? error.message : "It cannot be shown.";
    stage.setAttribute("aria-label", hint.textContent);
    return null;
  }
}

let held = false;

async function reveal() {
  if (!mayLook || held) return;
  held = true;
  const shown = await fetched();
  if (!shown || !held) return;
  since = performance.now();
  stage.classList.add("sharp");
  if (shown instanceof HTMLVideoElement) shown.play().catch(() => {});
}

function hide() {
  held = false;
  if (!stage.classList.contains("sharp")) return;
  stage.classList.remove("sharp");
  stage.querySelector("video")?.pause();
  const seconds = (performance.now() - since) / 1000;
  navigator.sendBeacon("/review/seen", new Blob(
    [JSON.stringify({ key: stage.dataset.shown, seconds })], { type: "application/json" }));
}

document.getElementById("blurred")?.addEventListener("click", () => {
  stage.focus(); // so that Space, held next, reveals and does not press this again
  fetched();
});
stage.addEventListener("pointerdown", reveal);
for (const name of ["pointerup", "pointercancel", "pointerleave"]) stage.addEventListener(name, hide);
stage.addEventListener("contextmenu", (event) => event.preventDefault());
for (const name of ["blur", "pagehide"]) window.addEventListener(name, hide);
document.addEventListener("visibilitychange", hide);
colour.addEventListener("change", () => stage.classList.toggle("colour", colour.checked));

document.addEventListener("keydown", (event) => {
  if (!isForUs(event)) return;
  const key = event.key.toLowerCase();
  if (key === " ") {
    if (event.target instanceof Element && event.target.matches("button, input, summary")) return;
    event.preventDefault();
    if (!event.repeat) reveal();
  } else if (event.repeat) {
    return;
  } else if (key === "c") {
    colour.click();
  } else if (/^[1-9]$/.test(key) && Number(key) <= reason.options.length) {
    reason.selectedIndex = Number(key) - 1;
  }
});
document.addEventListener("keyup", (event) => { if (event.key === " ") hide(); });
