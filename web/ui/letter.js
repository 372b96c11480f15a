/** A letter to a site that does not take part: made here, sent by the person, never through us. */

import { byId, element } from './element.js';
import { text } from './texts.js';

const letter = byId('letter', HTMLTextAreaElement);
const questions = byId('questions', HTMLElement);
const copied = byId('copied', HTMLElement);

/** @param {string} id */
function answer(id) {
  const field = document.getElementById(id);
  const isField = field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement;
  return isField ? field.value.trim() : '';
}

/**
 * What each law asks for. United States: 47 U.S.C. 223a(a)(1)(B), four parts. European Union:
 * Regulation (EU) 2022/2065, article 16(2); (c) frees those from giving a name whose notice
 * concerns sexual abuse of children.
 */
function write() {
  const law = document.querySelector('input[name=law]:checked');
  const isMinor = byId('minor', HTMLInputElement).checked;
  const site = answer('site') || '[name of the site]';
  const links = answer('links') || '[addresses]';
  const shows = answer('shows') || '[a few words]';
  const writer = answer('writer') || '[name]';
  const contact = answer('contact') || '[e-mail address]';
  const isUnitedStates = law instanceof HTMLInputElement && law.value === 'us';
  letter.value = isUnitedStates
    ? unitedStates({ site, links, shows, writer, contact, isMinor })
    : europeanUnion({ site, links, shows, writer, contact, isMinor });
}

/** @typedef {{site: string, links: string, shows: string, writer: string, contact: string, isMinor: boolean}} Answers */

/** @param {Answers} answers */
function unitedStates({ site, links, shows, writer, contact, isMinor }) {
  return `To ${site}

Request for removal under the TAKE IT DOWN Act (47 U.S.C. 223a)

1. What and where
An intimate picture or video of me is on your service, here:
${links}
It shows: ${shows}
Please also remove known identical copies.

2. Without consent
I believe in good faith that it was published without my consent.${minorLine(isMinor)}

3. How to reach me
${contact}

4. Signature
${writer}

The Act asks you to remove it as soon as possible, and within 48 hours of this request.
`;
}

/** @param {Answers} answers */
function europeanUnion({ site, links, shows, writer, contact, isMinor }) {
  const name = isMinor ? `${writer} (article 16(2)(c) lets me leave out name and e-mail address)` : writer;
  return `To ${site}

Notice under article 16 of Regulation (EU) 2022/2065 (Digital Services Act)

a) Why this is illegal content
It is an intimate picture or video of me, published without my consent.${minorLine(isMinor)}
It shows: ${shows}

b) Where it is
${links}

c) Name and e-mail address
${name}
${contact}

d) Statement
I believe in good faith that the information and allegations in this notice are accurate and complete.

Please confirm that you received this notice, and tell me your decision and how I can contest it.
`;
}

/** @param {boolean} isMinor */
function minorLine(isMinor) {
  return isMinor ? '\nI was, or may have been, under 18 years old in it.' : '';
}

questions.hidden = false;
questions.addEventListener('input', write);
write();

byId('copy', HTMLButtonElement).addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(letter.value);
    copied.textContent = text('copied');
  } catch {
    copied.textContent = text('failed');
  }
});

byId('save', HTMLButtonElement).addEventListener('click', () => {
  const link = element('a');
  link.href = URL.createObjectURL(new Blob([letter.value], { type: 'text/plain' }));
  link.download = 'letter.txt';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
});
