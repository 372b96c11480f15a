/** Words of the page's language, put into it by the server. */

const language = document.documentElement.lang;
const template = /** @type {HTMLTemplateElement} */ (document.getElementById('texts'));

/** @type {Map<string, string>} */
const texts = new Map();
for (const each of template.content.querySelectorAll('[data-text]')) {
  texts.set(each.getAttribute('data-text') ?? '', each.textContent ?? '');
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} [values] for the places in braces
 * @returns {string} `failed`'s text if there is none of that name
 */
export function text(name, values = {}) {
  const found = texts.get(name) ?? texts.get('failed') ?? '';
  return found.replace(/\{(\w+)\}/g, (_, place) => String(values[place] ?? ''));
}

/** @param {string} name */
export function hasText(name) {
  return texts.has(name);
}

/** @param {number} share 0..1 */
export function percent(share) {
  return new Intl.NumberFormat(language, { style: 'percent' }).format(share);
}

/** @param {number} number */
export function count(number) {
  return new Intl.NumberFormat(language).format(number);
}

/** @param {number} seconds */
export function duration(seconds) {
  const isShort = seconds < 90;
  return new Intl.NumberFormat(language, {
    style: 'unit',
    unit: isShort ? 'second' : 'minute',
    unitDisplay: 'long',
  }).format(isShort ? Math.max(1, Math.round(seconds)) : Math.round(seconds / 60));
}

/** @param {string} moment ISO 8601, a date or a time */
export function date(moment) {
  return new Intl.DateTimeFormat(language, { dateStyle: 'long' }).format(new Date(moment));
}
