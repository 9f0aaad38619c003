import { Element, el } from './element.js';

/** Data forms (XEP-0004) as plain values: rendered, read and validated from one description of the fields. */

export const NS_DATA = 'jabber:x:data';

export type FormType = 'form' | 'submit' | 'result' | 'cancel';
export type FieldKind =
  | 'boolean'
  | 'text-single'
  | 'text-multi'
  | 'text-private'
  | 'list-single'
  | 'list-multi'
  | 'jid-single'
  | 'jid-multi'
  | 'hidden'
  | 'fixed';

export interface Field {
  var: string;
  /** `text-single` when absent (XEP-0004 §3.2). */
  type?: FieldKind;
  label?: string;
  desc?: string;
  value?: string | readonly string[];
  options?: readonly { label?: string; value: string }[];
  required?: boolean;
}

/** What a form said: every value of every field by its `var`; a field without values has an empty list. */
export interface FormData {
  type: FormType;
  formType: string | undefined;
  values: Map<string, string[]>;
}

const FORM_TYPE = 'FORM_TYPE';
const TYPES: ReadonlySet<string> = new Set<FormType>(['form', 'submit', 'result', 'cancel']);
const LINE_END = /\r\n?|\n/;

/**
 * `<x xmlns='jabber:x:data'/>` with `formType` as its hidden FORM_TYPE (XEP-0068). What only a person who fills the form
 * needs (options, descriptions, the mark of required fields) is written for type `form` alone.
 */
export function dataForm(
  type: FormType,
  formType: string,
  fields: readonly Field[],
  more: { title?: string; instructions?: string } = {},
): Element {
  const x = el('x', NS_DATA, { type });
  if (more.title !== undefined) x.append(el('title', NS_DATA, {}, more.title));
  if (more.instructions !== undefined) x.append(el('instructions', NS_DATA, {}, more.instructions));
  if (type === 'cancel') return x;
  x.append(renderField({ var: FORM_TYPE, type: 'hidden', value: formType }, false));
  for (const field of fields) x.append(renderField(field, type === 'form'));
  return x;
}

function renderField(field: Field, toFill: boolean): Element {
  const type = field.type ?? (toFill ? 'text-single' : undefined);
  const element = el('field', NS_DATA, { var: field.var, type, label: field.label });
  if (toFill && field.desc !== undefined) element.append(el('desc', NS_DATA, {}, field.desc));
  if (toFill && field.required) element.append(el('required', NS_DATA));
  let values = field.value === undefined ? [] : typeof field.value === 'string' ? [field.value] : field.value;
  // XEP-0004 §3.3: each line of a text-multi field is a value of its own.
  if (type === 'text-multi') values = values.flatMap((value) => value.split(LINE_END));
  for (const value of values) element.append(renderValue(value));
  if (toFill) {
    for (const option of field.options ?? []) {
      element.append(el('option', NS_DATA, { label: option.label }, renderValue(option.value)));
    }
  }
  return element;
}

function renderValue(value: string): Element {
  return new Element('value', NS_DATA, {}, value === '' ? [] : [value]);
}

/** Reads `<x/>`; undefined when it is not a data form of a known type or a field has no `var` (XEP-0004 §3.2). */
export function readForm(x: Element): FormData | undefined {
  const type = x.attr('type') ?? '';
  if (x.name !== 'x' || x.ns !== NS_DATA || !TYPES.has(type)) return undefined;
  const values = new Map<string, string[]>();
  for (const field of x.elements('field')) {
    const name = field.attr('var');
    if (name === undefined) {
      if (field.attr('type') === 'fixed') continue;
      return undefined;
    }
    const read = field.elements('value').map((value) => value.text());
    values.set(name, [...(values.get(name) ?? []), ...read]);
  }
  const formType = values.get(FORM_TYPE)?.[0];
  values.delete(FORM_TYPE);
  return { type: type as FormType, formType, values };
}

const BOOLEANS: Record<string, boolean> = { '1': true, true: true, '0': false, false: false };

/** A boolean in either of its spellings (XEP-0004 §3.3), undefined when it is none. */
export function parseBoolean(value: string): boolean | undefined {
  return Object.hasOwn(BOOLEANS, value) ? BOOLEANS[value] : undefined;
}

type Check = (values: readonly string[], field: Field) => string | undefined;

const single: Check = (values) => (values.length > 1 ? 'takes one value' : undefined);
const oneLine: Check = (values, field) =>
  single(values, field) ?? (values.some((value) => LINE_END.test(value)) ? 'takes one line' : undefined);
const listed: Check = (values, { options = [] }) =>
  values.every((value) => options.some((option) => option.value === value))
    ? undefined
    : 'takes only the options given';

/** What each kind of field demands of its values; addresses are left to the caller, who knows what they are for. */
const CHECKS: Record<FieldKind, Check> = {
  boolean: (values, field) =>
    single(values, field) ??
    (values.every((value) => parseBoolean(value) !== undefined) ? undefined : 'takes 0, 1, false or true'),
  'text-single': oneLine,
  'text-private': oneLine,
  'jid-single': oneLine,
  'list-single': (values, field) => single(values, field) ?? listed(values, field),
  'list-multi': listed,
  'text-multi': () => undefined,
  'jid-multi': () => undefined,
  hidden: () => undefined,
  fixed: () => undefined,
};

/** Why the submitted values do not fit the field (for a not-acceptable error, XEP-0004 §4), undefined when they do. */
export function checkField(field: Field, values: readonly string[]): string | undefined {
  if (field.required && values.length === 0) return `${field.var} is required`;
  const problem = CHECKS[field.type ?? 'text-single'](values, field);
  return problem === undefined ? undefined : `${field.var} ${problem}`;
}
