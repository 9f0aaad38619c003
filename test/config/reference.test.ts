import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { options } from '../../src/config/options.js';
import { reference } from '../../src/config/reference.js';
import { editDistance, suggest } from '../../src/config/suggest.js';

describe('reference', () => {
  it('docs/configuration.md is what `thrum config-reference` prints', () => {
    expect(readFileSync('docs/configuration.md', 'utf8')).toBe(reference());
  });
  it('every setting has a meaning in a sentence, a default and a variable of its own', () => {
    for (const option of options) {
      expect(option.meaning, option.key).toMatch(/^[A-Z].*\.$/);
      expect(option.default, option.key).toBeDefined();
    }
    expect(new Set(options.map((option) => option.variable)).size).toBe(options.length);
  });
  it('keeps the names that others rely on', () => {
    const keys = options.map((option) => option.key);
    for (const key of [
      ...['domain', 'data_dir', 'store', 'workers', 'c2s.port', 'c2s.tls', 'c2s_tls.port', 'http.port', 'https.port'],
      ...['registration', 'limits.enabled', 'admins', 'log.level', 'listen_address'],
    ])
      expect(keys).toContain(key);
  });
});

describe('suggestions', () => {
  it('counts swaps of neighbours as one edit', () => {
    expect(editDistance('domian', 'domain')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
    expect(editDistance('kitten', 'sitting')).toBe(3);
  });
  it('proposes the nearest, and nothing when all are far', () => {
    expect(suggest('c2s.prot', ['c2s.port', 'http.port'])).toBe('c2s.port');
    expect(suggest('colour', ['c2s.port', 'http.port'])).toBeUndefined();
  });
});
