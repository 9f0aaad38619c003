import type { XmlElement } from './xml.js';

/** What a test waits for: a name, some facts of the element, or a question that it answers itself. */
export type Matcher = string | Facts | ((element: XmlElement) => boolean);

/** Every fact that is given has to be true. */
export interface Facts {
  name?: string;
  ns?: string;
  type?: string;
  id?: string;
  from?: string;
  to?: string;
  /** Name of a child element. */
  child?: string;
  /** Text of the `<body/>`. */
  body?: string;
}

export function matches(element: XmlElement, matcher: Matcher): boolean {
  if (typeof matcher === 'function') return matcher(element);
  const facts: Facts = typeof matcher === 'string' ? { name: matcher } : matcher;
  return (
    (facts.name === undefined || element.name === facts.name) &&
    (facts.ns === undefined || element.ns === facts.ns) &&
    (['type', 'id', 'from', 'to'] as const).every(
      (name) => facts[name] === undefined || element.attr(name) === facts[name],
    ) &&
    (facts.child === undefined || element.child(facts.child) !== undefined) &&
    (facts.body === undefined || element.child('body')?.text() === facts.body)
  );
}

export function describe(matcher: Matcher): string {
  return typeof matcher === 'function' ? matcher.toString() : JSON.stringify(matcher);
}
