/** Markup that is safe by construction: whatever is put into the template is escaped, unless it is markup itself. */
const MARKUP = Symbol('markup');

export interface Html {
  readonly [MARKUP]: string;
}

export type Content = Html | string | number | undefined | false | readonly Content[];

/** `html\`<b>${name}</b>\``: lists are joined, undefined and false are left out, text is escaped (also in attributes). */
export function html(strings: TemplateStringsArray, ...values: Content[]): Html {
  let text = strings[0] ?? '';
  for (const [index, value] of values.entries()) text += write(value) + (strings[index + 1] ?? '');
  return { [MARKUP]: text };
}

/** Markup that another renderer has escaped already. */
export function markup(text: string): Html {
  return { [MARKUP]: text };
}

export function toText(content: Content): string {
  return write(content);
}

function write(value: Content): string {
  if (value === undefined || value === false) return '';
  if (typeof value === 'string') return escape(value);
  if (typeof value === 'number') return String(value);
  // Only our own functions can make the symbol: JSON from outside cannot pose as markup.
  return MARKUP in value ? value[MARKUP] : value.map(write).join('');
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (char) => ENTITIES[char] ?? char);
}
