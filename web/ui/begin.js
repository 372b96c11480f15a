/** The way through: age, choose, check, send, receipt, done. One page, no history, no connection. */

import { Receipt } from '../case/receipt.js';
import { caseText, readOutcome } from '../case/submission.js';
import { byId, element, problem, save } from './element.js';
import { Files } from './files.js';
import { counted, hasText, text } from './texts.js';
import { startWorker } from './workers.js';

const main = byId('main', HTMLElement);
const maxItems = Number(main.dataset.maxItems);
const maxFormBytes = Number(main.dataset.maxBody);
const minQuality = Number(main.dataset.minQuality);

/** @type {Map<string, HTMLElement>} */
const steps = new Map();
for (const section of document.querySelectorAll('section[data-step]')) {
  if (section instanceof HTMLElement) steps.set(section.dataset.step ?? '', section);
}

const picker = byId('files', HTMLInputElement);
const form = byId('send', HTMLFormElement);
const caseField = byId('case', HTMLTextAreaElement);
const proofField = byId('proof', HTMLInputElement);
const frame = byId('answer', HTMLIFrameElement);
const shown = byId('receipt', HTMLOutputElement);
const disguise = byId('disguise', HTMLInputElement);
const copied = byId('copied', HTMLElement);
const sending = byId('sending', HTMLElement);

const offline = byId('offline', HTMLDetailsElement);
const loading = byId('loading', HTMLElement);

/** @type {Receipt | null} */
let receipt = Receipt.random();
/** @type {Promise<string> | null} */
let proof = null;
/** Send was pressed before the proof of work was done. */
let isWanted = false;
let isSent = false;

const files = new Files(
  byId('chosen', HTMLElement),
  (list) => {
    byId('progress', HTMLElement).textContent = list.isReady() ? text('all_ready') : '';
    problem(step('choose'));
  },
  minQuality,
);

/** @param {string} name */
function step(name) {
  return /** @type {HTMLElement} */ (steps.get(name));
}

let isMoving = false;

/** @param {string} name */
function show(name) {
  for (const [each, section] of steps) section.hidden = each !== name;
  window.scrollTo(0, 0);
  // So that a screen reader reads the new step; the first one is read with the page.
  if (isMoving) step(name).querySelector('h1')?.focus({ preventScroll: true });
  isMoving = true;
}

/** Refuses with words, or lets the person go on. */
const doors = {
  age: () => undefined,
  choose: () => (age() === undefined ? problem(step('age'), text('choose_age')) : solveInAdvance()),
  check: () => prepareCheck(),
  done: () => forget(),
};

document.addEventListener('click', (event) => {
  const target = event.target instanceof Element ? event.target.closest('[data-go]') : null;
  if (target instanceof HTMLElement) void go(/** @type {keyof typeof doors} */ (target.dataset.go));
});

/** @param {keyof typeof doors} name */
async function go(name) {
  const current = [...steps.values()].find((section) => !section.hidden);
  if (current) problem(current);
  await doors[name]();
  const isRefused = current?.querySelector('.problem[role=alert]:not([hidden])');
  if (!isRefused) show(name);
}

/** @returns {import('../case/submission.js').Age | undefined} */
function age() {
  const checked = document.querySelector('input[name=age]:checked');
  return checked instanceof HTMLInputElement
    ? /** @type {import('../case/submission.js').Age} */ (checked.value)
    : undefined;
}

/** The proof of work runs while the person chooses and the files are read. */
function solveInAdvance() {
  proof ??= new Promise((resolve, reject) => {
    const worker = startWorker('proof');
    worker.onmessage = (event) => {
      worker.terminate();
      resolve(event.data);
    };
    worker.onerror = reject;
    worker.postMessage(JSON.parse(main.dataset.challenge ?? ''));
  });
  proof.then(
    (solution) => {
      proofField.value = solution;
      // A form cannot be sent from within its own submit event, hence not from there.
      if (isWanted) form.requestSubmit();
    },
    () => fail(text('failed')),
  );
}

picker.addEventListener('change', () => {
  const room = maxItems - files.rows.length;
  const chosen = [...(picker.files ?? [])];
  files.add(chosen.slice(0, room));
  // The list of names that the browser keeps in the field goes at once.
  picker.value = '';
  if (chosen.length > room) problem(step('choose'), counted('too_many', maxItems));
});

offline.addEventListener('toggle', () => {
  if (!offline.open) return;
  loading.textContent = text('loading');
  files.prepare().then(
    () => (loading.textContent = text('loaded')),
    () => (loading.textContent = text('failed')),
  );
});

async function prepareCheck() {
  if (files.rows.length === 0) return problem(step('choose'), text('choose_file'));
  if (!files.isReady()) return problem(step('choose'), text('still_reading'));
  if (receipt === null) return undefined;
  caseField.value = await caseText(receipt, age() ?? 'unknown', files.results());
  if (new URLSearchParams({ case: caseField.value }).toString().length + 4096 > maxFormBytes) {
    return problem(step('choose'), text('too_much'));
  }
  byId('summary', HTMLElement).replaceChildren(
    ...files.rows.map((row) => {
      const number = row.result?.fingerprints.length ?? 0;
      return element('li', `${row.name()} – ${counted('fingerprints', number)}`);
    }),
  );
  return undefined;
}

form.addEventListener('submit', (event) => {
  problem(form);
  if (proofField.value !== '') {
    sending.textContent = text('sending');
    isSent = true;
    return;
  }
  event.preventDefault();
  isWanted = true;
  sending.textContent = text('solving');
});

frame.addEventListener('load', () => {
  if (!isSent) return;
  isSent = false;
  const answer = answered();
  if (answer === undefined) return fail(text('offline'));
  const outcome = readOutcome(answer);
  if (outcome.items) return accept(outcome.items);
  const code = outcome.error?.code ?? '';
  if (['proof_expired', 'proof_spent', 'proof_of_work'].includes(code)) return fail(text('too_old_page'));
  if (['too_many', 'busy'].includes(code)) return fail(text('busy'));
  return fail(text('refused', { reason: outcome.error?.message ?? '' }));
});

/** The answer in the frame, or undefined where the browser shows its own error page. */
function answered() {
  try {
    return frame.contentDocument?.querySelector('main')?.dataset.outcome;
  } catch {
    return undefined;
  }
}

/** @param {string} words */
function fail(words) {
  sending.textContent = '';
  problem(form, words);
}

/** @param {{state: string, reasons: string[]}[]} items */
function accept(items) {
  sending.textContent = '';
  byId('accepted', HTMLElement).replaceChildren(
    ...items.map((item, at) => {
      const reason = item.reasons.map((each) => text(each)).join(', ');
      const state = hasText(item.state) ? text(item.state, { reason }) : item.state;
      return element('li', `${files.rows[at]?.name() ?? ''} – ${state}`);
    }),
  );
  shown.value = receipt?.toText() ?? '';
  caseField.value = '';
  show('receipt');
}

disguise.addEventListener('change', () => {
  byId('note-title', HTMLElement).textContent = noteTitle();
});

function noteTitle() {
  return text(disguise.checked ? 'voucher_title' : 'receipt_title');
}

function note() {
  return `${noteTitle()}\n${shown.value}\n`;
}

byId('copy', HTMLButtonElement).addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(note());
    copied.textContent = text('copied');
  } catch {
    copied.textContent = text('copy_failed');
  }
});

byId('save', HTMLButtonElement).addEventListener('click', () => save('note.txt', note()));

byId('print', HTMLButtonElement).addEventListener('click', () => window.print());

function forget() {
  receipt?.forget();
  receipt = null;
  shown.value = '';
  files.clear();
  form.reset();
}

window.addEventListener('pagehide', forget);
show('age');
