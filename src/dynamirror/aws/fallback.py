"""The plain transport, ``transport = "botocore"``: botocore's signer and HTTP client, in threads.

About twenty times the CPU of the native one, but it goes through proxies, and stands on code that
everybody runs. It promises what the native one does, save one thing: a thread can't be cancelled,
so a request given up goes on until its answer or its read time-out and is then forgotten.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, SSLError
from botocore.httpsession import URLLib3Session
from urllib3.exceptions import HTTPError

from dynamirror.aws.credentials import Credentials
from dynamirror.aws.endpoints import Endpoint
from dynamirror.aws.network import ca_bundle, proxy_variable
from dynamirror.aws.signing import CONTENT_TYPE, SERVICE, USER_AGENT, timestamp
from dynamirror.aws.transport import (
    ANSWER_BYTES_MAX,
    CONNECT_S,
    CONNECTIONS_MAX,
    DEADLINE_S,
    Answer,
    check_crc32,
)
from dynamirror.errors import ConfigError, TransientError

_PIECE_BYTES = 65_536


class BotocoreTransport:
    """See Transport. One endpoint, its requests signed for one region."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        region: str,
        connections_max: int = CONNECTIONS_MAX,
        deadline_s: float = DEADLINE_S,
        connect_s: float = CONNECT_S,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._endpoint = endpoint
        self._region = region
        self._deadline_s = deadline_s
        self._answer_bytes_max = answer_bytes_max
        name = proxy_variable(endpoint, environment)
        self._session = URLLib3Session(
            verify=ca_bundle(environment)[1] or True,
            proxies={endpoint.scheme: environment[name]} if name else {},
            timeout=(connect_s, deadline_s),
            max_pool_connections=connections_max,
        )
        self._threads = ThreadPoolExecutor(connections_max, "dynamirror-botocore")

    async def send(self, target: str, body: bytes, credentials: Credentials, at_s: int) -> Answer:
        """See Transport."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._deadline_s):
                return await loop.run_in_executor(
                    self._threads, self._answer, target, body, credentials, at_s
                )
        except TimeoutError as error:
            raise TransientError("Timeout", "no answer by the deadline") from error

    async def close(self) -> None:
        """Give up what waits for a thread, and wait for what has one."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        # Its own close leaves connections to the garbage collector, and with an error still in
        # somebody's hands that is late.
        session = self._session
        for manager in (session._manager, *session._proxy_managers.values()):  # noqa: SLF001
            for key in manager.pools.keys():  # noqa: SIM118  # it can't be iterated over
                manager.pools[key].close()
        session.close()

    def _answer(self, target: str, body: bytes, credentials: Credentials, at_s: int) -> Answer:
        request = self._signed(target, body, credentials, at_s)
        try:
            answer = self._session.send(request)
            content = self._content(answer.raw)
        except SSLError as error:
            raise self._untrusted(error) from error
        except (BotoCoreError, HTTPError) as error:
            raise TransientError(type(error).__name__, str(error)) from error
        headers = answer.headers
        # http.client takes the end of the connection inside the head for the end of the head.
        length = headers.get("Content-Length", "")
        chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
        if not chunked and length != str(len(content)):
            raise TransientError("AnswerTruncated", f"{len(content)} of {length or '?'} bytes came")
        if crc32 := headers.get("x-amz-crc32"):
            check_crc32(crc32.encode(), content)
        return answer.status_code, content, headers.get("Date", "").encode()

    def _content(self, raw: Any) -> bytes:
        # botocore switches this off to check the length itself, later than a connection that
        # was cut is taken back for the next request.
        raw.enforce_content_length = True
        pieces = []
        left = self._answer_bytes_max
        while piece := raw.read(_PIECE_BYTES):
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                raw.close()
                raise TransientError("AnswerTooLarge", f"over {self._answer_bytes_max} bytes")
        return b"".join(pieces)

    def _signed(self, target: str, body: bytes, credentials: Credentials, at_s: int) -> Any:
        stamp = timestamp(at_s)
        headers = {
            "Host": self._endpoint.authority,
            "Content-Type": CONTENT_TYPE,
            "X-Amz-Date": stamp,
            "X-Amz-Target": target,
        }
        if credentials.token:
            headers["X-Amz-Security-Token"] = credentials.token
        request = AWSRequest("POST", self._endpoint.url + "/", headers, body, stream_output=True)
        # Step by step and not by add_auth, which looks at the clock itself: ours may be mended.
        request.context["timestamp"] = stamp
        auth = SigV4Auth(credentials, SERVICE, self._region)
        text = auth.string_to_sign(request, auth.canonical_request(request))
        names = auth.signed_headers(auth.headers_to_sign(request))
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={names}, "
            f"Signature={auth.signature(text, request)}"
        )
        request.headers["User-Agent"] = USER_AGENT  # last, for whatever is there is signed
        request.headers["Accept-Encoding"] = "identity"
        return request.prepare()

    def _untrusted(self, error: SSLError) -> Exception:
        # OpenSSL's words for a doubtful certificate, and urllib3's for another host's.
        if not any(words in str(error) for words in ("CERTIFICATE_VERIFY_FAILED", "t match")):
            return TransientError("ConnectFailed", str(error))
        return ConfigError(
            f"{self._endpoint.url}: its certificate is not to be trusted ({error}). "
            "If it is your own server's, set AWS_CA_BUNDLE to the file of the authority that "
            "signed it, and name the server as the certificate does."
        )
