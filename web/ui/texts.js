/** Words of the page's language, put into it by the server. */

const language = document.documentElement.lang;
const template = /** @type {HTMLTemplateElement} */ (document.getElementById('texts'));

/** @type {Map<string, string>} */
const texts = new Map();
/** @type {Map<string, Map<number, string>>} as each text reads for some numbers */
const countedTexts = new Map();
for (const each of template.content.querySelectorAll('[data-text]')) {
  const name = each.getAttribute('data-text') ?? '';
  const sample = each.getAttribute('data-count');
  if (sample === null) texts.set(name, each.textContent ?? '');
  else countedTexts.set(name, (countedTexts.get(name) ?? new Map()).set(Number(sample), each.textContent ?? ''));
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} [values] for the places in braces
 * @returns {string} `failed`'s text if there is none of that name
 */
export function text(name, values = {}) {
  return filled(texts.get(name) ?? texts.get('failed') ?? '', values);
}

/**
 * @param {string} name
 * @param {number} number whole, for the place {number}; it chooses among the language's plural forms
 * @param {Record<string, string | number>} [values] for the other places
 * @returns {string}
 */
export function counted(name, number, values = {}) {
  const rules = new Intl.PluralRules(language);
  const samples = countedTexts.get(name) ?? new Map();
  const alike = [...samples.keys()].find((sample) => rules.select(sample) === rules.select(number));
  return filled(samples.get(alike) ?? samples.get(100) ?? '', { ...values, number: count(number) });
}

/**
 * @param {string} found
 * @param {Record<string, string | number>} values
 */
function filled(found, values) {
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
  // A day alone is the same day everywhere; as a moment it would be the day before in the west.
  const zone = moment.includes('T') ? {} : { timeZone: 'UTC' };
  return new Intl.DateTimeFormat(language, { dateStyle: 'long', ...zone }).format(new Date(moment));
}
