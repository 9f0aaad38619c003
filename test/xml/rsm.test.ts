import { describe, expect, it } from 'vitest';
import { el, type Element } from '../../src/xml/element.js';
import { NS_RSM, pageResult, readPageRequest } from '../../src/xml/rsm.js';

const query = (...children: Element[]) => el('query', 'q', {}, el('set', NS_RSM, {}, ...children));
const part = (name: string, text?: string) => el(name, NS_RSM, {}, text);

describe('a page request', () => {
  it('is absent without a set', () => {
    expect(readPageRequest(el('query', 'q', {}, el('set', 'q')))).toBeUndefined();
  });

  it.each([
    [query(part('max', '10')), { max: 10 }],
    [query(part('max', '10'), part('after', 'x')), { max: 10, after: 'x' }],
    [query(part('max', '10'), part('before')), { max: 10, before: '' }],
    [query(part('max', ' 0 ')), { max: 0 }],
    [query(part('max', '10'), part('index', '371')), { max: 10, index: 371 }],
    [query(), {}],
  ])('%s is read', (element, expected) => {
    expect(readPageRequest(element)).toEqual({
      max: undefined,
      after: undefined,
      before: undefined,
      index: undefined,
      ...expected,
    });
  });

  it.each(['', '-1', 'ten', '1.5', '1e3', '99999999999999999'])('with a max of %j is malformed', (max) => {
    expect(readPageRequest(query(part('max', max)))).toBe('malformed');
    expect(readPageRequest(query(part('index', max)))).toBe('malformed');
  });
});

describe('the description of a page', () => {
  it('names its ends, its place and the whole count', () => {
    expect(pageResult({ first: 'a<', last: 'b', index: 0, count: 800 }).toString()).toBe(
      `<set xmlns='${NS_RSM}'><first index='0'>a&lt;</first><last>b</last><count>800</count></set>`,
    );
  });

  it('has no ends when the page is empty', () => {
    expect(pageResult({ index: 3, count: 790 }).toString()).toBe(`<set xmlns='${NS_RSM}'><count>790</count></set>`);
  });
});
