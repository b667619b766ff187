import { describe, expect, test } from 'vitest';
import { createAllowList } from '../../src/intake/allow-list.ts';

describe('the list of repositories', () => {
  test.each([
    [undefined, 'gitea/eve/evil', true],
    ['', 'gitea/eve/evil', false],
    [' , ', 'gitea/eve/evil', false],
    ['gitea/ann/*', 'gitea/ann/app', true],
    ['gitea/ann/*', 'gitea/Ann/App', true],
    ['gitea/ann/*', 'gitea/ann/.github', true],
    ['gitea/ann/*', 'gitea/annette/app', false],
    ['gitea/*', 'gitea/eve/evil', false],
    ['gitea/ann/app', 'gitea/ann/app2', false],
    ['gitea/ann/app, github/bob/*', 'github/bob/x', true],
    ['gitea/ann/*,!gitea/ann/secret', 'gitea/ann/app', true],
    ['gitea/ann/*,!gitea/ann/secret', 'gitea/ann/secret', false],
    // What picomatch makes of a list with a negation lets this one in.
    ['gitea/ann/*,!gitea/ann/secret', 'gitea/eve/evil', false],
    ['!gitea/ann/secret', 'gitea/eve/evil', false],
    ['!!gitea/eve/evil', 'gitea/eve/evil', false],
    ['constructor', 'gitea/eve/evil', false],
  ])('%j: %s is allowed: %s', (globs, repository, allowed) => {
    expect(createAllowList(globs)(repository)).toBe(allowed);
  });
});
