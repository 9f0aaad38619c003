import { describe, expect, it } from 'vitest';
import { checkField, dataForm, parseBoolean, readForm, type Field } from '../../src/xml/dataform.js';
import { el } from '../../src/xml/element.js';

const FIELDS: Field[] = [
  { var: 'title', label: 'Title', desc: 'Shown to people', value: 'A & B', required: true },
  { var: 'public', type: 'boolean', value: '1' },
  { var: 'about', type: 'text-multi', value: 'one\ntwo' },
  { var: 'size', type: 'list-single', value: '2', options: [{ value: '1' }, { label: 'Two', value: '2' }] },
  { var: 'empty', type: 'jid-multi', value: [] },
  { var: 'blank', value: '' },
];

describe('a data form', () => {
  it('to be filled has kinds, options, descriptions and marks of required fields', () => {
    expect(dataForm('form', 'urn:f', FIELDS.slice(0, 4), { title: 'T', instructions: 'I' }).toString()).toBe(
      "<x xmlns='jabber:x:data' type='form'><title>T</title><instructions>I</instructions>" +
        "<field var='FORM_TYPE' type='hidden'><value>urn:f</value></field>" +
        "<field var='title' type='text-single' label='Title'><desc>Shown to people</desc><required/><value>A &amp; B</value></field>" +
        "<field var='public' type='boolean'><value>1</value></field>" +
        "<field var='about' type='text-multi'><value>one</value><value>two</value></field>" +
        "<field var='size' type='list-single'><value>2</value><option><value>1</value></option>" +
        "<option label='Two'><value>2</value></option></field></x>",
    );
  });

  it('of a result has values alone', () => {
    expect(dataForm('result', 'urn:f', [{ ...FIELDS[3]!, label: 'Size' }]).toString()).toBe(
      "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:f</value></field>" +
        "<field var='size' type='list-single' label='Size'><value>2</value></field></x>",
    );
  });

  it('that cancels has no fields', () => {
    expect(dataForm('cancel', 'urn:f', FIELDS).toString()).toBe("<x xmlns='jabber:x:data' type='cancel'/>");
  });

  it('says the same when it is read', () => {
    const read = readForm(dataForm('submit', 'urn:f', FIELDS))!;
    expect([read.type, read.formType]).toEqual(['submit', 'urn:f']);
    expect([...read.values]).toEqual([
      ['title', ['A & B']],
      ['public', ['1']],
      ['about', ['one', 'two']],
      ['size', ['2']],
      ['empty', []],
      ['blank', ['']],
    ]);
  });

  it('is refused when its type is unknown, a field has no name, or it is something else', () => {
    const ns = 'jabber:x:data';
    expect(readForm(el('x', ns))).toBeUndefined();
    expect(readForm(el('x', ns, { type: 'toString' }))).toBeUndefined();
    expect(readForm(el('x', 'other', { type: 'submit' }))).toBeUndefined();
    expect(readForm(el('x', ns, { type: 'submit' }, el('field', ns)))).toBeUndefined();
    expect(readForm(el('x', ns, { type: 'submit' }, el('field', ns, { type: 'fixed' })))?.values.size).toBe(0);
    expect(readForm(el('x', ns, { type: 'submit' }))?.formType).toBeUndefined();
  });
});

describe('the check of submitted values', () => {
  it.each<[Field['type'], string[], boolean]>([
    ['boolean', ['true'], true],
    ['boolean', ['0'], true],
    ['boolean', ['yes'], false],
    ['boolean', ['1', '1'], false],
    [undefined, ['one line'], true],
    [undefined, ['two\nlines'], false],
    ['text-single', ['a', 'b'], false],
    ['text-multi', ['a', 'b'], true],
    ['list-single', ['1'], true],
    ['list-single', ['3'], false],
    ['list-single', ['1', '2'], false],
    ['list-multi', ['1', '2'], true],
    ['list-multi', ['1', '3'], false],
    ['jid-single', ['a@b', 'c@d'], false],
    ['jid-multi', ['a@b', 'c@d'], true],
    ['hidden', ['a', 'b'], true],
    ['boolean', [], true],
  ])('of a %s field takes %j: %s', (type, values, fits) => {
    const problem = checkField({ var: 'f', type, options: [{ value: '1' }, { value: '2' }] }, values);
    expect(problem === undefined).toBe(fits);
    if (!fits) expect(problem).toMatch(/^f takes /);
  });

  it('asks for what is required', () => {
    expect(checkField({ var: 'f', required: true }, [])).toBe('f is required');
    expect(checkField({ var: 'f', required: true }, [''])).toBeUndefined();
  });

  it('knows both spellings of booleans and nothing else', () => {
    expect(['1', 'true', '0', 'false', 'TRUE', '', 'toString'].map(parseBoolean)).toEqual([
      true,
      true,
      false,
      false,
      undefined,
      undefined,
      undefined,
    ]);
  });
});
