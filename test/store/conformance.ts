import { afterAll, beforeAll, describe } from 'vitest';
import type { Store } from '../../src/store/store.js';
import { accountsConform } from './conform-accounts.js';
import { itemsConform } from './conform-items.js';
import { nodesConform } from './conform-nodes.js';
import { pagesConform } from './conform-pages.js';
import { subscriptionsConform } from './conform-subscriptions.js';

/** Gives the store under test; every test uses names of its own. */
export type Given = () => Store;

/** What every store must do. `open` gives an empty one. */
export function conformance(name: string, open: () => Promise<Store>): void {
  describe(`${name} conforms`, () => {
    let store: Store;
    beforeAll(async () => {
      store = await open();
    });
    afterAll(() => store.close());
    const given: Given = () => store;
    describe('accounts', () => accountsConform(given));
    describe('nodes', () => nodesConform(given));
    describe('subscriptions', () => subscriptionsConform(given));
    describe('items', () => itemsConform(given));
    describe('pages', () => pagesConform(given));
  });
}
