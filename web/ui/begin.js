/** The way through: age, choose, check, send, receipt, done. One page, no history, no connection. */

import { Receipt } from '../case/receipt.js';
import { caseText, readOutcome } from '../case/submission.js';
import { byId, element, problem, save } from './element.js';
import { Files } from './files.js';
import { isLeaving } from './leave.js';
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
const back = byId('send-back', HTMLButtonElement);
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
let isSolving = false;
/** Send was pressed before the proof of work was done. */
let isWanted = false;
let isSending = false;
let sends = 0;
/** A line that died without a word: Send may be pressed again. */
const PATIENCE_MILLISECONDS = 60_000;
/** How often a new proof of work may still be asked for, until Send is pressed again. */
let renewals = 0;
const MAX_RENEWALS = 2;

/** What the problem under the choice was said of: files that are not ready yet, or their number. */
let isWaitedFor = false;
let shownRows = 0;

const files = new Files(
  byId('chosen', HTMLElement),
  (list) => {
    byId('progress', HTMLElement).textContent = list.isReady() ? text('all_ready') : '';
    // Not with each file that was read: nobody could read so fast what stands there.
    const isOver = isWaitedFor ? list.isReady() : list.rows.length !== shownRows;
    shownRows = list.rows.length;
    if (isOver) problem(step('choose'));
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
  choose: () => (age() === undefined ? problem(step('age'), text('choose_age')) : toChoose()),
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

function toChoose() {
  // Whoever goes back from Send does not want it any more.
  isWanted = false;
  sending.textContent = '';
  solve();
}

/** The proof of work runs while the person chooses and the files are read. */
function solve() {
  if (isSolving || proofField.value !== '') return;
  isSolving = true;
  const worker = startWorker('proof');
  const end = () => {
    worker.terminate();
    isSolving = false;
  };
  worker.onmessage = (event) => {
    end();
    proofField.value = event.data;
    // A form cannot be sent from within its own submit event, hence not from there.
    if (isWanted) form.requestSubmit();
  };
  worker.onerror = (event) => {
    event.preventDefault();
    end();
    if (isWanted) fail(text('offline'));
  };
  worker.postMessage(JSON.parse(main.dataset.challenge ?? ''));
}

picker.addEventListener('change', () => {
  const room = maxItems - files.rows.length;
  const chosen = [...(picker.files ?? [])];
  isWaitedFor = false;
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
  isWaitedFor = !files.isReady();
  if (isWaitedFor) return problem(step('choose'), text('still_reading'));
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
  // The first one may have arrived: a second would only take its answer away.
  if (isSending) return event.preventDefault();
  if (!isWanted) renewals = MAX_RENEWALS;
  if (proofField.value !== '') {
    sending.textContent = text('sending');
    isWanted = false;
    isSending = true;
    const current = ++sends;
    setTimeout(() => {
      if (isSending && current === sends) fail(text('offline'));
    }, PATIENCE_MILLISECONDS);
    // From here on it may be on the list: what was chosen stays as it is until that is known.
    back.hidden = true;
    return undefined;
  }
  event.preventDefault();
  isWanted = true;
  sending.textContent = text('solving');
  solve();
  return undefined;
});

frame.addEventListener('load', () => {
  if (sends === 0) return undefined;
  isSending = false;
  const answer = answered();
  if (answer === undefined) return fail(text('offline'));
  const outcome = readOutcome(answer.outcome ?? '');
  if (outcome.items) return accept(outcome.items);
  const code = outcome.error?.code ?? '';
  if (code === 'proof_of_work') return renew(answer.challenge);
  if (!NOT_NOW.includes(code)) {
    back.hidden = false;
    return fail(text('refused', { reason: outcome.error?.message ?? '' }));
  }
  return fail(text('busy'));
});

const NOT_NOW = ['too_many', 'busy', 'paused', 'unavailable', 'unreadable'];

/**
 * The proof of work did not serve: too old, or used by an answer that was lost. The next is solved
 * and sent by itself; if the case is there already, the answer is the one that was lost.
 * @param {string} [challenge] JSON
 */
function renew(challenge) {
  if (!challenge || renewals === 0) return fail(text('too_old_page'));
  renewals--;
  main.dataset.challenge = challenge;
  proofField.value = '';
  isWanted = true;
  sending.textContent = text('solving');
  solve();
  return undefined;
}

/** What the answer in the frame says, or undefined where the browser shows its own error page. */
function answered() {
  try {
    const page = frame.contentDocument;
    return page === null ? undefined : { ...page.querySelector('main')?.dataset };
  } catch {
    return undefined;
  }
}

/** @param {string} words */
function fail(words) {
  isWanted = false;
  isSending = false;
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

// Back, a reload or a link would lose what was chosen, or the only way to the case.
window.addEventListener('beforeunload', (event) => {
  if (isLeaving() || files.rows.length === 0) return;
  event.preventDefault();
});
show('age');
