/**
 * Leave now: by the button that stays in reach, or by pressing Shift three times. The page is
 * covered at once, emptied, and replaced. All our pages together are one step of the browser's
 * history, so that Back does not lead to any of them.
 */

const PRESSES = 3;
const WITHIN_MILLISECONDS = 5000;

const root = document.documentElement;
const ADDRESS = '/leave';

/** @type {number[]} */
let pressed = [];
let isGoing = false;

/** Whether the person asked to leave: then nothing may ask back. */
export function isLeaving() {
  return isGoing;
}

function leave() {
  isGoing = true;
  root.classList.add('covered');
  document.title = '\u200b';
  empty();
  // Without a network, as in airplane mode, the browser's error page would show our name.
  window.location.replace(navigator.onLine ? ADDRESS : 'about:blank');
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
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (link === null || link.origin !== window.location.origin || link.download) return;
  const isLeave = link.pathname === ADDRESS;
  const isElsewhere = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey;
  if (isElsewhere && !isLeave) return;
  event.preventDefault();
  if (isLeave) leave();
  else window.location.replace(link.href);
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
  root.classList.toggle('covered', isGoing || document.visibilityState === 'hidden');
});

window.addEventListener('pagehide', empty);
window.addEventListener('pageshow', (event) => {
  if (event.persisted) window.location.reload();
});
