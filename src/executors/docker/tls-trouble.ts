/** What is wrong with TLS to an engine, as a sentence that says what to change; undefined when it is something else. */
export function tlsTrouble(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const code = 'code' in error ? String(error.code) : '';
  return CAUSES.find(({ pattern }) => pattern.test(code) || pattern.test(error.message))?.sentence;
}

const CAUSES = [
  {
    pattern: /^(SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_|CERT_SIGNATURE_FAILURE)/,
    sentence: 'its certificate is not of the authority in ca.pem of DOCKER_CERT_PATH',
  },
  {
    pattern: /^ERR_TLS_CERT_ALTNAME_INVALID/,
    sentence: 'its certificate is for other names than the one in DOCKER_HOST',
  },
  {
    pattern: /^CERT_(HAS_EXPIRED|NOT_YET_VALID)/,
    sentence: 'its certificate is not valid at this time: make a new one, or set the clock',
  },
  {
    pattern: /alert (certificate|bad certificate|unknown ca)|ALERT_(CERTIFICATE|BAD_CERTIFICATE|UNKNOWN_CA)/i,
    sentence: 'it does not accept the certificate in cert.pem of DOCKER_CERT_PATH',
  },
  {
    pattern: /KEY_VALUES_MISMATCH|key values mismatch/i,
    sentence: 'key.pem does not belong to cert.pem in DOCKER_CERT_PATH',
  },
  {
    pattern: /^ERR_OSSL_(PEM|ASN1|X509|EVP|UNSUPPORTED)|no start line/i,
    sentence: 'ca.pem, cert.pem or key.pem in DOCKER_CERT_PATH is not in PEM format',
  },
  {
    pattern: /WRONG_VERSION_NUMBER|wrong version number|PACKET_LENGTH_TOO_LONG/i,
    sentence: 'what listens there does not speak TLS: check the port, or unset DOCKER_TLS_VERIFY',
  },
  {
    pattern: /HTTP request to an HTTPS server/i,
    sentence: 'it speaks TLS alone: set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH',
  },
];
