import type { EventEmitter } from 'node:events';

const EVENT = 'closing';

/** Aborts when the server that serves this app is about to close: live streams end then, and nothing else. */
export function closingSignal(app: EventEmitter): AbortSignal {
  const controller = new AbortController();
  app.once(EVENT, () => controller.abort());
  return controller.signal;
}

export function announceClosing(app: EventEmitter): void {
  app.emit(EVENT);
}
