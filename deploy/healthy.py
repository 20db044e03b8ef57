"""Exit with 0 if a server answers its health check: ``healthy.py URL [CA_FILE]``."""

import ssl
import sys
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

url, *authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority[0] if authority else None)
opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
sys.exit(opener.open(url, timeout=5).status != 200)
