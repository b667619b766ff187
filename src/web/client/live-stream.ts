export interface LiveHandlers {
  log(data: LogData): void;
  state(data: unknown): void;
  end(): void;
  /** The connection broke (false) or is there again (true). */
  connected(up: boolean): void;
}

export interface LogData {
  job: string;
  part: string;
  name: string;
  attempt: number;
  offset: number;
  text: string;
}

const RETRY_MS = 3_000;

/** Follows a run from `position`, through broken connections, until it ends. */
export function followLive(url: URL, position: string, handlers: LiveHandlers): void {
  let last = position;
  const open = () => {
    url.searchParams.set('lastEventId', last);
    const source = new EventSource(url);
    source.addEventListener('open', () => handlers.connected(true));
    source.addEventListener('log', (event) => {
      last = event.lastEventId;
      handlers.log(JSON.parse(event.data as string) as LogData);
    });
    source.addEventListener('state', (event) => handlers.state(JSON.parse(event.data as string)));
    source.addEventListener('end', () => {
      source.close();
      handlers.end();
    });
    source.addEventListener('error', () => {
      handlers.connected(false);
      // The browser reconnects by itself after a break, but not after an answer such as 503.
      if (source.readyState === EventSource.CLOSED) setTimeout(open, RETRY_MS);
    });
  };
  open();
}
