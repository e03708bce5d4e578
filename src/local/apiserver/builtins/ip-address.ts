import { isIPv4, isIPv6 } from "node:net";
import { type FieldError, invalid } from "../schema/field-error.ts";

const LEADING_ZEROS = /(^|\.)0+(?=\d)/g;

/** `IPv4` or `IPv6`; undefined for what is no address. Old fields allow zeros in front of numbers. */
export function familyOf(address: string): "IPv4" | "IPv6" | undefined {
  if (isIPv4(address.replace(LEADING_ZEROS, "$1"))) return "IPv4";
  return isIPv6(address) && !address.includes("%") ? "IPv6" : undefined;
}

/** Checks an address in a field that is older than the strict rules. */
export function legacyIpErrors(path: string, address: string): FieldError[] {
  if (familyOf(address) !== undefined) return [];
  const text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
  return [invalid(path, address, text)];
}

/**
 * Checks that an address is one that others can be reached at. Loopback addresses are allowed, unlike
 * in a cluster: on a single machine pods have addresses of 127.0.0.0/8.
 */
export function specialIpErrors(path: string, address: string): FieldError[] {
  const errors: FieldError[] = [];
  const ip = address.replace(LEADING_ZEROS, "$1").toLowerCase();
  if (/^(0\.0\.0\.0|[0:]+)$/.test(ip)) {
    errors.push(invalid(path, address, `may not be unspecified (${address})`));
  }
  if (/^169\.254\.|^fe[89ab]/.test(ip)) {
    const text = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
    errors.push(invalid(path, address, text));
  }
  if (/^224\.0\.0\.|^ff[0-9a-f]2:/.test(ip)) {
    const text = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
    errors.push(invalid(path, address, text));
  }
  return errors;
}
