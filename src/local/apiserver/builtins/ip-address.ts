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
