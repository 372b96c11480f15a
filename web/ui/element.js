/** The few ways in which our pages touch the document. */

/**
 * @template {HTMLElement} E
 * @param {string} id
 * @param {new () => E} type
 * @returns {E}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`no ${id} on this page`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [content]
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, content) {
  const made = document.createElement(tag);
  if (content !== undefined) made.textContent = content;
  return made;
}

/**
 * @param {string} label
 * @param {() => void} act
 */
export function button(label, act) {
  const made = element('button', label);
  made.type = 'button';
  made.className = 'quiet';
  made.addEventListener('click', act);
  return made;
}

/**
 * @param {ParentNode} within
 * @param {string} [message] none takes the last one away
 */
export function problem(within, message) {
  const place = within.querySelector('.problem[role=alert]');
  if (!(place instanceof HTMLElement)) return;
  place.textContent = message ?? '';
  place.hidden = message === undefined;
}

/**
 * Lets the person keep a file that was made here.
 * @param {string} name
 * @param {BlobPart} content
 * @param {string} type
 */
export function save(name, content, type = 'text/plain') {
  const link = element('a');
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
