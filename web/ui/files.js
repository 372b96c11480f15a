/**
 * The chosen files: fingerprinted one after the other in a worker, with progress, stop and retry.
 * Neither a name nor a picture is kept or shown.
 */

import { choosePart } from './crop.js';
import { button, element } from './element.js';
import { count, duration, percent, text } from './texts.js';
import { startWorker } from './workers.js';

/** Refusals that the worker with its own decoders may be able to undo. */
const WORTH_DECODING = ['no_decoder', 'pixels_hidden'];
const SHOW_TIME_LEFT_AFTER_SECONDS = 3;
const STOP_MILLISECONDS = 2000;

/** @typedef {'fingerprint' | 'decoders'} Kind of worker */

/** One file, and its row in the list. */
class Row {
  /**
   * @param {Blob} file
   */
  constructor(file) {
    this.file = file;
    /** 1.. among those that are left, as the status page counts them later. */
    this.number = 0;
    this.words = '';
    /** @type {'waiting' | 'reading' | 'ready' | 'refused' | 'stopped'} */
    this.state = 'waiting';
    /** @type {import('../fingerprint/media.js').MediaFingerprint | null} */
    this.result = null;
    /** @type {import('../fingerprint/picture.js').Part | undefined} */
    this.part = undefined;
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
    // Started at once: nothing is left to load when the network is switched off.
    /** @type {Map<Kind, Worker>} */
    this.workers = new Map([['fingerprint', startWorker('fingerprint')]]);
    /** @type {Row | null} */
    this.current = null;
    /** @type {any} */
    this.awake = null;
    // Whoever looks at another app for a moment loses the wake lock.
    document.addEventListener('visibilitychange', () => {
      this.awake = null;
      if (document.visibilityState === 'visible' && this.current !== null) this.keepAwake();
    });
  }

  /** @param {Iterable<Blob>} files */
  add(files) {
    for (const file of files) {
      const row = new Row(file);
      row.number = this.rows.push(row);
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
    for (const kind of this.workers.keys()) this.end(kind);
    this.current = null;
    for (const row of this.rows) row.item.remove();
    this.rows = [];
  }

  next() {
    if (this.current === null) {
      const row = this.rows.find((each) => each.state === 'waiting');
      if (row) this.read(row, 'fingerprint');
      else this.letSleep();
    }
    this.onChange(this);
  }

  /**
   * Loads everything that any file may need.
   * @returns {Promise<void>}
   */
  async prepare() {
    await Promise.all(
      /** @type {Kind[]} */ (['fingerprint', 'decoders']).map(
        (kind) =>
          new Promise((resolve, reject) => {
            const worker = this.worker(kind);
            worker.addEventListener('message', (event) => {
              if (event.data.type === 'prepared') resolve(undefined);
            });
            worker.addEventListener('error', reject);
            worker.postMessage('prepare');
          }),
      ),
    );
  }

  /** @param {Kind} kind */
  worker(kind) {
    const worker = this.workers.get(kind) ?? startWorker(kind);
    this.workers.set(kind, worker);
    return worker;
  }

  /**
   * @param {Row} row
   * @param {Kind} kind
   */
  read(row, kind) {
    this.current = row;
    row.state = 'reading';
    row.startedAt = performance.now();
    this.keepAwake();
    this.show(row, text('reading', { percent: percent(0) }));
    const worker = this.worker(kind);
    worker.onmessage = (/** @type {MessageEvent<import('../fingerprint/serve.js').Answer>} */ event) => {
      const answer = event.data;
      if (answer.type === 'progress') this.progress(row, answer.share);
      else if (answer.type === 'done') this.finish(row, answer.result);
      else if (answer.type === 'stopped') {
        this.current = null;
        this.next();
      } else if (answer.type === 'refused') {
        const isWorthDecoding = kind === 'fingerprint' && WORTH_DECODING.includes(answer.reason);
        if (row.state !== 'reading') this.settle(row, text('stopped'));
        else if (isWorthDecoding) this.read(row, 'decoders');
        else this.refuse(row, answer.reason);
      }
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.end(kind);
      this.refuse(row, navigator.onLine ? 'failed' : 'needs_network');
    };
    worker.postMessage({ file: row.file, part: row.part });
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
    if (row.state === 'reading') {
      row.state = 'ready';
      row.result = result;
    }
    const best = Math.max(...result.fingerprints.map((each) => each.quality ?? -1));
    const isPlain = best >= 0 && best < this.minQuality;
    const words = result.notes.includes('no_decoder') ? 'ready_file_only' : isPlain ? 'plain' : 'ready';
    this.settle(row, text(row.state === 'ready' ? words : 'stopped'));
  }

  /**
   * @param {Row} row
   * @param {string} reason
   */
  refuse(row, reason) {
    row.state = 'refused';
    this.settle(row, text(reason));
  }

  /**
   * @param {Row} row
   * @param {string} words
   */
  settle(row, words) {
    if (this.current === row) this.current = null;
    this.show(row, words);
    this.next();
  }

  /** @param {Row} row */
  stop(row) {
    row.state = 'stopped';
    if (this.current === row) this.interrupt();
    this.show(row, text('stopped'));
  }

  /**
   * The worker answers with `stopped`, and only then takes the next file. One that is deep in a
   * decoder cannot hear: it is ended.
   */
  interrupt() {
    const stopped = this.current;
    for (const worker of this.workers.values()) worker.postMessage('stop');
    setTimeout(() => {
      if (this.current !== stopped || stopped?.state === 'reading') return;
      for (const kind of this.workers.keys()) this.end(kind);
      this.current = null;
      this.next();
    }, STOP_MILLISECONDS);
  }

  /** @param {Row} row */
  again(row) {
    row.state = 'waiting';
    row.result = null;
    this.show(row, text('waiting'));
    this.next();
  }

  /** @param {Row} row */
  async crop(row) {
    let part;
    try {
      part = await choosePart(row.file);
    } catch {
      this.show(row, text('no_decoder'));
      return;
    }
    if (part === null) return;
    // Nothing cut off: the file's own digests hold again.
    row.part = part.left + part.top + 1 - part.right + 1 - part.bottom > 0 ? part : undefined;
    this.again(row);
  }

  /** @param {Row} row */
  remove(row) {
    if (this.current === row) this.interrupt();
    const at = this.rows.indexOf(row);
    this.rows.splice(at, 1);
    row.item.remove();
    for (const [before, other] of this.rows.entries()) {
      if (other.number === before + 1) continue;
      other.number = before + 1;
      this.show(other, other.words);
    }
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
    row.words = words;
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
    if (row.state === 'ready' && row.result?.media === 'image') {
      buttons.push(button(text('crop'), () => void this.crop(row)));
    }
    if (!isBusy) buttons.push(button(text('remove'), () => this.remove(row)));
    for (const each of buttons) each.setAttribute('aria-label', `${each.textContent}: ${row.name()}`);
    row.buttons.replaceChildren(...buttons);
  }

  /** @param {Kind} kind */
  end(kind) {
    this.workers.get(kind)?.terminate();
    this.workers.delete(kind);
  }

  letSleep() {
    this.awake?.then((/** @type {any} */ lock) => lock?.release());
    this.awake = null;
  }

  /** A phone that falls asleep would stop a long video halfway. */
  keepAwake() {
    this.awake ??= navigator.wakeLock?.request('screen').catch(() => null);
  }
}
