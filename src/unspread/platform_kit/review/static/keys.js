// @ts-check
// Buttons by their keys.

/** Whether a key is not meant for a field that takes text, nor for the browser.
 * @param {KeyboardEvent} event */
export function isForUs(event) {
  const field = event.target instanceof Element
    && event.target.matches("select, textarea, input:not([type=checkbox])");
  return !field && !event.ctrlKey && !event.metaKey && !event.altKey;
}

document.addEventListener("keydown", (event) => {
  if (!isForUs(event) || event.repeat) return;
  const key = CSS.escape(event.key.toLowerCase());
  /** @type {HTMLButtonElement | null} */ (document.querySelector(`[data-hotkey="${key}"]`))?.click();
});
