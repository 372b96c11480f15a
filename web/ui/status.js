/** What became of a case: read, extended and withdrawn with the receipt, which stays here. */

import { addEntry, entriesOfLogWith, LogProofError } from '../case/log.js';
import { fromBase64, MalformedReceiptError, Receipt } from '../case/receipt.js';
import { Case, ServiceError } from '../case/service.js';
import { button, byId, element, problem, save } from './element.js';
import { count, counted, date, hasText, text } from './texts.js';

const form = byId('open', HTMLFormElement);
const field = byId('receipt', HTMLInputElement);
const view = byId('case', HTMLElement);
const note = byId('note', HTMLElement);
const { logOrigin = '', logKey = '' } = byId('main', HTMLElement).dataset;
/** The key stands in this page, from the settings: not in the answers that it judges. */
const log = { origin: logOrigin, key: fromBase64(logKey) };
const withdrawAll = byId('withdraw-all', HTMLButtonElement);
const renew = byId('renew', HTMLButtonElement);

/** @type {Case | null} */
let open = null;
/** @type {import('../case/service.js').CaseStatus | null} */
let last = null;

form.hidden = false;
form.addEventListener('submit', (event) => {
  event.preventDefault();
  void attempt(form, async () => {
    const receipt = Receipt.fromText(codeIn(field.value));
    open = new Case(receipt, log.origin);
    render(await open.status());
    field.value = '';
    form.hidden = true;
    view.hidden = false;
    note.textContent = '';
    byId('dates', HTMLElement).focus();
  });
});

/**
 * The receipt in a note that was copied or saved here, whose title stands before it.
 * @param {string} written
 */
function codeIn(written) {
  return /(?:[0-9a-z]{4}-){5}[0-9a-z]{4}(?=\W*$)/i.exec(written)?.[0] ?? written;
}

/**
 * Runs what may fail, and says so in words.
 * @param {ParentNode} within
 * @param {() => Promise<void>} act
 */
async function attempt(within, act) {
  problem(within);
  try {
    await act();
  } catch (error) {
    if (!(error instanceof MalformedReceiptError || error instanceof ServiceError)) throw error;
    const words = hasText(error.code) ? text(error.code) : text('failed');
    if (within === form) problem(form, words);
    else say(words);
  }
}

/** @param {import('../case/service.js').CaseStatus} status */
function render(status) {
  last = status;
  const dates = byId('dates', HTMLElement);
  dates.tabIndex = -1;
  dates.textContent = text('dates', {
    date: date(status.submitted_on),
    until: date(status.expires_on),
  });
  byId('items', HTMLElement).replaceChildren(...status.items.map(itemRow));
  // Of what is taken back nothing is left to be protected for longer.
  withdrawAll.hidden = renew.hidden = !status.items.some(canWithdraw);
}

/** @param {import('../case/service.js').ItemStatus} item */
function canWithdraw(item) {
  return ['listed', 'held', 'suspended'].includes(item.state);
}

/**
 * @param {import('../case/service.js').ItemStatus} item
 * @param {number} number
 */
function itemRow(item, number) {
  const row = element('li');
  const name = text(item.media, { number: count(number + 1) });
  const reason = item.reasons.map((each) => text(each)).join(', ');
  row.append(element('h2', name), element('p', text(`state_${item.state}`, { reason })));
  const lines = item.platforms.flatMap((platform) =>
    platformLines(platform).map((line) => {
      const entry = element('li');
      entry.append(element('bdi', platform.name), `: ${line}`);
      return entry;
    }),
  );
  if (lines.length > 0) {
    const list = element('ul');
    list.append(...lines);
    row.append(list);
  } else if (item.state === 'listed') {
    row.append(element('p', text('nothing_yet')));
  }
  if (item.listing_id !== null) {
    const place = element('div');
    row.append(place);
    void showProof(place, item.listing_id, item.commitment, name);
  }
  if (canWithdraw(item)) {
    const control = confirming(button(text('withdraw'), () => undefined), () => withdraw([number]));
    control.setAttribute('aria-label', `${text('withdraw')}: ${name}`);
    const controls = element('p');
    controls.className = 'row';
    controls.append(control);
    row.append(controls);
  }
  return row;
}

/**
 * Checks on this device that the item's entry stands in the public log, and says so or warns.
 * @param {HTMLElement} place
 * @param {number} listing
 * @param {string} commitment hex
 * @param {string} name of the item
 */
async function showProof(place, listing, commitment, name) {
  const line = element('p', text('in_log_checking', { number: count(listing) }));
  line.className = 'hint';
  place.append(line);
  /** @param {string} words */
  const tell = (words) => {
    line.textContent = text(words, { number: count(listing) });
  };
  try {
    const file = await /** @type {Case} */ (open).proof(listing);
    const bytes = Uint8Array.from(commitment.match(/../g) ?? [], (pair) => parseInt(pair, 16));
    const size = await entriesOfLogWith(file, addEntry(bytes), listing, log);
    tell('in_log_true');
    line.append(` ${counted('log_size', size)}`);
    const keep = button(text('save_proof'), () =>
      save(`${listing}.tlog-proof`, /** @type {BlobPart} */ (file), 'application/octet-stream'),
    );
    keep.setAttribute('aria-label', `${text('save_proof')}: ${name}`);
    const controls = element('p');
    controls.className = 'row';
    controls.append(keep);
    place.append(controls);
  } catch (error) {
    if (error instanceof ServiceError) return tell('in_log_unchecked');
    if (!(error instanceof LogProofError)) throw error;
    line.className = 'problem';
    line.setAttribute('role', 'alert');
    tell('in_log_false');
  }
  return undefined;
}

/** @param {import('../case/service.js').PlatformStatus} platform */
function platformLines(platform) {
  const lines = [];
  /** @type {[string, string | null | undefined, string | null | undefined][]} */
  const events = [
    ['received', platform.received_at, null],
    ['found', platform.found_at, null],
    ['removed', platform.removed_at, null],
    ['blocked', platform.blocked_at, null],
    ['kept', platform.kept_at, platform.kept_reason],
    ['disputed', platform.disputed_at, platform.disputed_reason],
    ['forgotten', platform.forgotten_at, null],
  ];
  for (const [name, at, reason] of events) {
    if (!at) continue;
    const values = { date: date(at), reason: reason ? text(reason) : '' };
    lines.push(name === 'blocked' ? counted(name, platform.blocked_count ?? 1, values) : text(name, values));
  }
  return lines;
}

/**
 * A control that asks, where it stands, before it does what cannot be undone. The question takes
 * the control's place, so that a finger that taps twice meets words.
 * @param {HTMLButtonElement} control
 * @param {() => Promise<void>} act
 */
function confirming(control, act) {
  control.addEventListener('click', () => {
    const place = element('div');
    const question = element('p', text('withdraw_sure'));
    question.className = 'problem';
    question.tabIndex = -1;
    const controls = element('p');
    controls.className = 'row';
    const name = control.textContent ?? '';
    const sure = button(name, () => {
      place.replaceWith(control);
      void attempt(view, act);
    });
    sure.setAttribute('aria-label', control.getAttribute('aria-label') ?? name);
    const cancel = button(text('cancel'), () => {
      place.replaceWith(control);
      control.focus();
    });
    controls.append(sure, cancel);
    place.append(question, controls);
    control.replaceWith(place);
    question.focus();
  });
  return control;
}

/** @param {string} words for what was just done, read aloud and in sight */
function say(words) {
  note.textContent = words;
  note.focus();
}

/** @param {number[]} numbers */
async function withdraw(numbers) {
  if (open === null) return;
  await open.withdraw(numbers);
  render(await open.status());
  say(text('withdrawn'));
}

confirming(withdrawAll, async () => {
  const items = last?.items ?? [];
  await withdraw(items.flatMap((item, number) => (canWithdraw(item) ? [number] : [])));
});

renew.addEventListener('click', () => {
  void attempt(view, async () => {
    if (open === null) return;
    render(await open.renew());
    say(text('renewed'));
  });
});

window.addEventListener('pagehide', () => open?.receipt.forget());
