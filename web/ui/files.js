/**
 * The chosen files: fingerprinted one after the other in a worker, with progress, stop and retry.
 * Neither a name nor a picture is kept or shown.
 */

import { button, element } from './element.js';
import { count, duration, percent, text } from './texts.js';
import { startWorker } from './workers.js';

/** Refusals that the worker with its own decoders may be able to undo. */
const WORTH_DECODING = ['no_decoder', 'pixels_hidden'];
const SHOW_TIME_LEFT_AFTER_SECONDS = 3;

/** One file, and its row in the list. */
class Row {
  /**
   * @param {Blob} file
   * @param {number} number 1..
   */
  constructor(file, number) {
    this.file = file;
    this.number = number;
    /** @type {'waiting' | 'reading' | 'ready' | 'refused' | 'stopped'} */
    this.state = 'waiting';
    /** @type {import('../fingerprint/media.js').MediaFingerprint | null} */
    this.result = null;
    this.startedAt = 0;
    this.item = element('li');
    this.title = element('p');
    this.line = element('p');
    this.bar = element('progress');
    this.bar.max = 1;
    this.buttons = element('p');
    this.buttons.className = 'row';
    this.item.append(this.title, this.line, this.bar, this.buttons);
  }

  name() {
    return text(this.result?.media ?? 'file', { number: count(this.number) });
  }
}

export class Files {
  /**
   * @param {HTMLElement} list
   * @param {(files: Files) => void} onChange
   * @param {number} minQuality below which a picture is likely to be kept back
   */
  constructor(list, onChange, minQuality) {
    this.list = list;
    this.onChange = onChange;
    this.minQuality = minQuality;
    /** @type {Row[]} */
    this.rows = [];
    this.made = 0;
    /** @type {Worker | null} */
    this.worker = null;
    /** @type {Row | null} */
    this.current = null;
    /** @type {any} */
    this.awake = null;
  }

  /** @param {Iterable<Blob>} files */
  add(files) {
    for (const file of files) {
      const row = new Row(file, ++this.made);
      this.rows.push(row);
      this.list.append(row.item);
      this.show(row, text('waiting'));
    }
    this.next();
  }

  results() {
    return this.rows.flatMap((row) => (row.result ? [row.result] : []));
  }

  isReady() {
    return this.rows.length > 0 && this.rows.every((row) => row.state === 'ready');
  }

  isBusy() {
    return this.rows.some((row) => row.state === 'waiting' || row.state === 'reading');
  }

  clear() {
    this.endWorker();
    this.current = null;
    for (const row of this.rows) row.item.remove();
    this.rows = [];
  }

  next() {
    if (this.current === null) {
      const row = this.rows.find((each) => each.state === 'waiting');
      if (row) this.read(row, 'fingerprint');
      else this.endWorker();
    }
    this.onChange(this);
  }

  /**
   * @param {Row} row
   * @param {'fingerprint' | 'decoders'} kind of worker
   */
  read(row, kind) {
    this.current = row;
    row.state = 'reading';
    row.startedAt = performance.now();
    this.keepAwake();
    this.show(row, text('reading', { percent: percent(0) }));
    if (this.worker === null || kind === 'decoders') {
      this.endWorker();
      this.worker = startWorker(kind);
    }
    const worker = this.worker;
    const isLasting = kind === 'fingerprint';
    worker.onmessage = (/** @type {MessageEvent<import('../fingerprint/serve.js').Answer>} */ event) => {
      const answer = event.data;
      if (answer.type === 'progress') return this.progress(row, answer.share);
      if (!isLasting) this.endWorker();
      if (answer.type === 'done') return this.finish(row, answer.result);
      if (isLasting && WORTH_DECODING.includes(answer.reason)) return this.read(row, 'decoders');
      return this.refuse(row, answer.reason);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.endWorker();
      this.refuse(row, 'failed');
    };
    worker.postMessage({ file: row.file });
  }

  /**
   * @param {Row} row
   * @param {number} share
   */
  progress(row, share) {
    const seconds = (performance.now() - row.startedAt) / 1000;
    const left = share > 0 ? (seconds / share) * (1 - share) : 0;
    const time = seconds > SHOW_TIME_LEFT_AFTER_SECONDS ? ` – ${text('left', { time: duration(left) })}` : '';
    row.bar.value = share;
    row.line.textContent = text('reading', { percent: percent(share) }) + time;
  }

  /**
   * @param {Row} row
   * @param {import('../fingerprint/media.js').MediaFingerprint} result
   */
  finish(row, result) {
    row.state = 'ready';
    row.result = result;
    const best = Math.max(...result.fingerprints.map((each) => each.quality ?? -1));
    const isPlain = best >= 0 && best < this.minQuality;
    const words = result.notes.includes('no_decoder') ? 'ready_file_only' : isPlain ? 'plain' : 'ready';
    this.end(row, text(words));
  }

  /**
   * @param {Row} row
   * @param {string} reason
   */
  refuse(row, reason) {
    row.state = 'refused';
    this.end(row, text(reason));
  }

  /**
   * @param {Row} row
   * @param {string} words
   */
  end(row, words) {
    if (this.current === row) this.current = null;
    this.show(row, words);
    this.next();
  }

  /** @param {Row} row */
  stop(row) {
    row.state = 'stopped';
    if (this.current === row) this.endWorker();
    this.end(row, text('stopped'));
  }

  /** @param {Row} row */
  again(row) {
    row.state = 'waiting';
    row.result = null;
    this.show(row, text('waiting'));
    this.next();
  }

  /** @param {Row} row */
  remove(row) {
    if (this.current === row) {
      this.endWorker();
      this.current = null;
    }
    const at = this.rows.indexOf(row);
    this.rows.splice(at, 1);
    row.item.remove();
    const neighbour = this.rows[Math.min(at, this.rows.length - 1)]?.item.querySelector('button');
    (neighbour ?? document.getElementById('files'))?.focus();
    this.next();
  }

  /**
   * @param {Row} row
   * @param {string} words
   */
  show(row, words) {
    const isBusy = row.state === 'waiting' || row.state === 'reading';
    row.title.textContent = row.name();
    row.line.textContent = words;
    row.bar.hidden = row.state !== 'reading';
    row.bar.removeAttribute('value');
    row.bar.setAttribute('aria-label', row.name());
    const buttons = [];
    if (isBusy) buttons.push(button(text('stop'), () => this.stop(row)));
    if (row.state === 'stopped' || row.state === 'refused') {
      buttons.push(button(text('again'), () => this.again(row)));
    }
    if (!isBusy) buttons.push(button(text('remove'), () => this.remove(row)));
    for (const each of buttons) each.setAttribute('aria-label', `${each.textContent}: ${row.name()}`);
    row.buttons.replaceChildren(...buttons);
  }

  endWorker() {
    this.worker?.terminate();
    this.worker = null;
    this.awake?.then((/** @type {any} */ lock) => lock?.release());
    this.awake = null;
  }

  /** A phone that falls asleep would stop a long video halfway. */
  keepAwake() {
    this.awake ??= navigator.wakeLock?.request('screen').catch(() => null);
  }
}
