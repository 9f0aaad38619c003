import type { Address } from '../support/client.js';

/** Where publishers and subscribers go. */
export interface Places {
  /** Some host, as a client that tries the addresses of its list finds one. */
  anywhere(): Address;
  /** Between two attempts of a client that found nobody. */
  turn(): Promise<void>;
  /** The publisher of the node sent that item more than once. */
  repeated(node: string, item: number): boolean;
}
