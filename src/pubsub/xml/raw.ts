import { Element } from '../../xml/element.js';

/** Serialised XML in a tree: it must be well-formed, and declare or inherit its namespaces as they will stand around it. */
export class Raw extends Element {
  constructor(private readonly xml: string) {
    super('raw', '');
  }

  protected override write(): string {
    return this.xml;
  }
}
