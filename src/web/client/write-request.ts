/** Writes need the API token: it is asked for once and kept for this tab. No cookie, so no other site can send it. */
import { byId } from './find.ts';

const KEY = 'impgem-token';

export class WriteRefused extends Error {}

/** Posts and gives the answer; undefined when the person would rather not. Throws WriteRefused with a sentence to show. */
export async function postWithToken(path: string, body: object): Promise<{ id: string } | undefined> {
  const token = sessionStorage.getItem(KEY) ?? (await askToken());
  if (token === undefined) return undefined;
  const response = await fetch(path, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (response.status === 401) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
  const answer = (await response.json()) as { id: string; detail?: string };
  if (!response.ok) throw new WriteRefused(answer.detail ?? `The server answered ${response.status}.`);
  return answer;
}

function askToken(): Promise<string | undefined> {
  const dialog = byId('token-dialog') as HTMLDialogElement;
  const input = dialog.querySelector('input') as HTMLInputElement;
  input.value = '';
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      'close',
      () => resolve(dialog.returnValue === 'ok' && input.value !== '' ? input.value.trim() : undefined),
      { once: true },
    );
  });
}
