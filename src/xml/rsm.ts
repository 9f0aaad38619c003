import { Element, el } from './element.js';

/** Result set management (XEP-0059): which page is asked for, and where the page given lies. */

export const NS_RSM = 'http://jabber.org/protocol/rsm';

export interface PageRequest {
  /** At most that many; 0 asks for the count alone (§2.7). */
  max: number | undefined;
  /** The page that follows this UID. */
  after: string | undefined;
  /** The page that precedes this UID; the empty string asks for the last page (§2.5). */
  before: string | undefined;
  /** The page that starts at this position (§2.6). */
  index: number | undefined;
}

const WHOLE = /^\s*\d{1,15}\s*$/;

function whole(set: Element, name: string): number | undefined {
  const text = set.child(name)?.text();
  if (text === undefined) return undefined;
  return WHOLE.test(text) ? Number(text) : Number.NaN;
}

/** The `<set/>` inside `parent`: undefined when there is none, `malformed` when a number in it is not one. */
export function readPageRequest(parent: Element): PageRequest | 'malformed' | undefined {
  const set = parent.child('set', NS_RSM);
  if (!set) return undefined;
  const max = whole(set, 'max');
  const index = whole(set, 'index');
  if (Number.isNaN(max) || Number.isNaN(index)) return 'malformed';
  return { max, after: set.child('after')?.text(), before: set.child('before')?.text(), index };
}

/** The answer's `<set/>`; `first` and `last` are the UIDs of the page's ends, left out when the page is empty (§2.2). */
export function pageResult(page: { count?: number; index?: number; first?: string; last?: string }): Element {
  const set = el('set', NS_RSM);
  if (page.first !== undefined && page.last !== undefined) {
    const index = page.index === undefined ? undefined : String(page.index);
    set.append(el('first', NS_RSM, { index }, page.first), el('last', NS_RSM, {}, page.last));
  }
  return page.count === undefined ? set : set.append(el('count', NS_RSM, {}, String(page.count)));
}
