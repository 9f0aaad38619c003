import { dataForm, type Field } from '../xml/dataform.js';
import { defineFeature, type Feature } from './feature.js';

const FORM_TYPE = 'http://jabber.org/network/serverinfo';
const ROLES = ['abuse', 'admin', 'feedback', 'sales', 'security', 'support'] as const;

/** Contact addresses that the configuration names (XEP-0157 §3), as extended information on the server. */
export function contactAddresses(): Feature {
  return defineFeature({
    spec: 'XEP-0157',
    title: 'Contact Addresses for XMPP Services',
    version: '1.1.1',
    forms: (config) => {
      const fields = ROLES.flatMap((role): Field[] => {
        const value = config.contact[role];
        return value.length === 0 ? [] : [{ var: `${role}-addresses`, type: 'list-multi', value }];
      });
      return fields.length === 0 ? [] : [dataForm('result', FORM_TYPE, fields)];
    },
  });
}
