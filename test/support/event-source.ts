/** Reads server-sent events of a real connection, one at a time. */
export interface ServerEvent {
  event: string;
  id?: string;
  data: ReturnType<typeof JSON.parse>;
}

export interface EventReader {
  /** The next event; undefined when the stream has ended. */
  next(): Promise<ServerEvent | undefined>;
  /** All events up to and including the first of this kind. */
  until(event: string): Promise<ServerEvent[]>;
  close(): Promise<void>;
}

export async function openEvents(url: string, headers: Record<string, string> = {}): Promise<EventReader> {
  const response = await fetch(url, { headers: { accept: 'text/event-stream', ...headers } });
  if (response.status !== 200 || !response.body) throw new Error(`${response.status} ${await response.text()}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  const next = async (): Promise<ServerEvent | undefined> => {
    for (;;) {
      const end = buffer.indexOf('\n\n');
      if (end >= 0) {
        const block = buffer.slice(0, end);
        buffer = buffer.slice(end + 2);
        const parsed = parse(block);
        if (parsed) return parsed;
        continue;
      }
      const { done, value } = await reader.read();
      if (done) return undefined;
      buffer += value;
    }
  };
  return {
    next,
    async until(event) {
      const events: ServerEvent[] = [];
      for (;;) {
        const found = await next();
        if (!found) throw new Error(`the stream ended without ${event}: ${JSON.stringify(events).slice(0, 2000)}`);
        events.push(found);
        if (found.event === event) return events;
      }
    },
    close: () => reader.cancel(),
  };
}

function parse(block: string): ServerEvent | undefined {
  const fields = new Map(
    block
      .split('\n')
      .filter((line) => !line.startsWith(':'))
      .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
  );
  const [event, data, id] = [fields.get('event'), fields.get('data'), fields.get('id')];
  if (event === undefined || data === undefined) return undefined;
  return { event, data: JSON.parse(data), ...(id === undefined ? {} : { id }) };
}
