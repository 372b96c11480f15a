/** A letter to a site that does not take part: made here, sent by the person, never through us. */

import { byId, save } from './element.js';
import { text } from './texts.js';

const BORDERS_PIXELS = 4;

const letter = byId('letter', HTMLTextAreaElement);
const questions = byId('questions', HTMLElement);
const tongue = document.getElementById('tongue');
const copied = byId('copied', HTMLElement);

/** The words of the letter in one language: that of the page, or English. */
class Words {
  /** @param {HTMLTemplateElement} template */
  constructor(template) {
    this.language = template.lang;
    this.direction = template.dir;
    this.template = template;
  }

  /**
   * @param {string} name
   * @param {Record<string, string>} [values] for the places in braces
   */
  say(name, values = {}) {
    const found = this.template.content.querySelector(`[data-text="${name}"]`)?.textContent ?? '';
    return found.replace(/\{(\w+)\}/g, (_, place) => values[place] ?? '');
  }

  /**
   * What the person wrote, or what is still to be filled in.
   * @param {string} id
   */
  answer(id) {
    const field = document.getElementById(id);
    const isField = field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement;
    return (isField && field.value.trim()) || this.say(`no_${id}`);
  }
}

/** @type {Map<string, Words>} */
const languages = new Map();
for (const each of document.querySelectorAll('template[data-letter]')) {
  if (each instanceof HTMLTemplateElement) languages.set(each.lang, new Words(each));
}

/** @param {string} name */
function chosen(name) {
  const checked = document.querySelector(`input[name=${name}]:checked`);
  return checked instanceof HTMLInputElement ? checked.value : '';
}

function write() {
  const words = /** @type {Words} */ (languages.get(chosen('tongue') || 'en'));
  const isMinor = byId('minor', HTMLInputElement).checked;
  const parts = chosen('law') === 'us' ? unitedStates(words, isMinor) : europeanUnion(words, isMinor);
  letter.lang = words.language;
  letter.dir = words.direction;
  letter.value = `${parts.map((lines) => lines.filter(Boolean).join('\n')).join('\n\n')}\n`;
  // In full: what a field hides is not printed.
  letter.style.blockSize = 'auto';
  letter.style.blockSize = `${letter.scrollHeight + BORDERS_PIXELS}px`;
}

/**
 * The four parts of a notice: 47 U.S.C. 223a(a)(1)(B).
 * @param {Words} words
 * @param {boolean} isMinor
 * @returns {string[][]} paragraphs of lines
 */
function unitedStates(words, isMinor) {
  return [
    [words.say('to', { site: words.answer('site') })],
    [words.say('us')],
    [
      words.say('us_where'),
      words.say('us_here'),
      words.answer('links'),
      words.say('shows', { shows: words.answer('shows') }),
      words.say('us_copies'),
    ],
    [words.say('us_consent'), words.say('us_faith'), isMinor ? words.say('minor') : ''],
    [words.say('us_contact'), words.answer('contact')],
    [words.say('us_signature'), words.answer('writer')],
    [words.say('us_deadline')],
  ];
}

/**
 * Regulation (EU) 2022/2065, article 16(2), a to d; (c) frees those from giving a name whose
 * notice concerns sexual abuse of children.
 * @param {Words} words
 * @param {boolean} isMinor
 * @returns {string[][]} paragraphs of lines
 */
function europeanUnion(words, isMinor) {
  return [
    [words.say('to', { site: words.answer('site') })],
    [words.say('eu')],
    [
      words.say('eu_why'),
      words.say('eu_it_is'),
      isMinor ? words.say('minor') : '',
      words.say('shows', { shows: words.answer('shows') }),
    ],
    [words.say('eu_where'), words.answer('links')],
    [words.say('eu_name'), words.answer('writer'), words.answer('contact'), isMinor ? words.say('eu_free') : ''],
    [words.say('eu_statement'), words.say('eu_faith')],
    [words.say('eu_answer')],
  ];
}

questions.hidden = false;
questions.addEventListener('input', write);
if (tongue !== null) {
  tongue.hidden = false;
  tongue.addEventListener('input', write);
}
write();

byId('copy', HTMLButtonElement).addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(letter.value);
    copied.textContent = text('copied');
  } catch {
    copied.textContent = text('failed');
  }
});

byId('save', HTMLButtonElement).addEventListener('click', () => save('letter.txt', letter.value));
