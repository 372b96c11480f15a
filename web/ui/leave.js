/**
 * Leave now: by the button that stays in reach, or by pressing Shift three times. The page is
 * covered at once, emptied, and replaced, so that Back does not lead to it.
 */

const PRESSES = 3;
const WITHIN_MILLISECONDS = 5000;

const cover = /** @type {HTMLElement} */ (document.getElementById('cover'));
const ADDRESS = '/leave';

/** @type {number[]} */
let pressed = [];

function leave() {
  for (const dialog of document.querySelectorAll('dialog')) dialog.close();
  cover.hidden = false;
  document.title = '\u200b';
  empty();
  window.location.replace(ADDRESS);
}

/** Nothing that was typed or chosen stays behind. */
function empty() {
  for (const form of document.forms) form.reset();
  for (const field of document.querySelectorAll('input, textarea')) {
    const input = /** @type {HTMLInputElement} */ (field);
    if (input.type === 'radio' || input.type === 'checkbox') input.checked = input.defaultChecked;
    else input.value = '';
  }
}

document.addEventListener('click', (event) => {
  const link = event.target instanceof Element ? event.target.closest(`a[href="${ADDRESS}"]`) : null;
  if (link === null) return;
  event.preventDefault();
  leave();
});

document.addEventListener('keydown', (event) => {
  if (event.key !== 'Shift') {
    pressed = [];
    return;
  }
  if (event.repeat) return;
  const now = performance.now();
  pressed = [...pressed.filter((at) => now - at < WITHIN_MILLISECONDS), now];
  if (pressed.length >= PRESSES) leave();
});

// The app switcher and the lock screen take their picture of what is shown when a page is hidden.
document.addEventListener('visibilitychange', () => {
  cover.hidden = document.visibilityState === 'visible';
});

window.addEventListener('pagehide', empty);
window.addEventListener('pageshow', (event) => {
  if (event.persisted) window.location.reload();
});

export {};
