"""FLamby's split of the four hospitals' records, written down record by record.

FLamby draws it by class from all records of a hospital, so that there one record more would
move others to another side, which differential privacy must not have. As a constant it is a
matter of each record alone. A test draws it anew from the real files and compares.
"""

from base64 import b64decode
from hashlib import blake2b

import numpy as np

from tasks.records import Examples, LocalData

_DIGEST_BYTES = 4
_PERSON = b"tacet heart"
# FLamby's share, for records that are not in the published files.
_HELD_OUT_SHARE = 0.34


def flamby_split(records: Examples) -> LocalData:
    """Split a hospital's records as FLamby does, each by its own content.

    Of equal records one is held out, if any, and the others are trained on: FLamby has such a
    pair. So one record more changes one side by that record, and nothing else. A record that is
    not in the published files is held out with a chance of 0.34, by a hash of its bytes.

    Parameters
    ----------
    records : Examples
        Of one hospital, all thirteen features unscaled; each part keeps their order.
    """
    is_test = np.zeros(len(records), np.bool_)
    seen: set[bytes] = set()
    for place, (row, target) in enumerate(zip(records.inputs, records.targets, strict=True)):
        content = row.tobytes() + target.tobytes()
        digest = blake2b(content, digest_size=2 * _DIGEST_BYTES, person=_PERSON).digest()
        is_test[place] = digest not in seen and _is_held_out(digest)
        seen.add(digest)
    return LocalData(
        records.take(np.flatnonzero(~is_test)), records.take(np.flatnonzero(is_test))
    )


def _is_held_out(digest: bytes) -> bool:
    name, draw = digest[:_DIGEST_BYTES], digest[_DIGEST_BYTES:]
    if name in _HELD_OUT or name in _TRAINED_ON:
        return name in _HELD_OUT
    return int.from_bytes(draw, "little") < _HELD_OUT_SHARE * 2 ** (8 * _DIGEST_BYTES)


def _digests(text: str) -> frozenset[bytes]:
    data = b64decode(text)
    size = _DIGEST_BYTES
    return frozenset(data[i : i + size] for i in range(0, len(data), size))


# The first bytes of each record's hash.
_HELD_OUT = _digests("""
    AN4bSALgfqQDlRymBV6wpQXhfcIHs4fHCBh8ZgkXlmAKxFs0C0C8BgvIgboL+2y2DGRRmgx0ULgOl8vRD62O1RH8
    FtISY+KNE51obRVBkTIWim/zF4vQOxgeLrobDywAG0KgDxuyWfkcDGplHWtvIx/Fc8wi6oIdJfNx9iZtqn4nExQu
    J7pTjyfDgOYq2GoPLBL4bSym324s4np6LPP+jy1phQgu+LDWMLqTZDGcmOwyJXL+NWocAzV+8Ao2P7kiNnlb2DaN
    q1w3gubfOCPm2jh6/XI4q2jgOrbYXTrbW007lCpgP0Qop0A6q8ZDfgnKQ9UsQkPfnMBEJ101REkQokSXFWtEt/z9
    ROKthEWlUjZFrDbORwwYJUdsdHBHx5SxSG1pfkpi/mlKqy8vSvMMl0t7oQhMgXtXTL4e0E2aaqxNpOkdTuPiIU/a
    2OhRW7IDUcpI8VMbMbpThFWbVeDkE1Xx5MNWlYemVyv7EVpho0xbBGc9XAM+clwfVCJdeYJNXePeXV46Y7phs+xQ
    YbWq7mLnlU5kuI7JZXyAgWYo73BmcJ8UZtuyWmckbi5niHCZZ6cNxWlIxgRqBLSDah8fQmvCcWNsMoj8bF5ec21b
    DZNuFWvKbnmNLW9rQ/dwVA1ocQxnknIcab5y4tYFcxVnVnNjKNp0zd6udOE0aXVH80d4AikzeAWO+njQPll5TLhL
    eW2sSXmdzKV60QKlfEbfJXyOwQd83S5Mfkg8Hn6HLjSAoGJMgmnuwYOeMISFHKynhTXwoYZ32a2HJg47h08MLofT
    aL2KQRUhi99vpY01r2iN9mm6jhgVY47MVBWPOd+ij2SaxY90J2iP11d8kArt+ZUU9/WVONvAloktwZeEeyKaJai5
    m945xpwp5lGcdwEdnHx9bKBobaKiI6IYpCHGu6SHnTOkytmUpW2QfKZSZQuney3iqBauKqghO8+ovZ3TqXHdJ6mx
    3Baq4YWYqz/4CK4Gr2OuCyHSrosHArRi7wq1UHdStwWhrrcLBKC3KoSnt3ws07gt/nK4SDx+uFMpw7svYoW8Vb4l
    vZIQz79TVyLATC2PwMRfo8H3ygrCFrT0wlRT6MawUBzG0jAZyN2B/sk+zRnKAYetym8k2MvTN+XL9lBozDMO0M1n
    g1jNbYSP0ApoltC+V4LRzpem0iwQCdSPsCHWg1X92NpnpNrpeHXbrXt03HKZUNyIPGPeJPcH321Ga+DmRqHhOLgX
    4ZgmIeQ4Pm7pLlob62svfuwwKu/si3Xz7WeZEvDyl+fxRyTA8jQQqvKT/Un0Wl1T9Koi5PVboqT3c89m+FtV1fmc
    ga36VIKm+1uZIvt7JlX9o/qM/m6rFf87Y3Q=
""")
_TRAINED_ON = _digests("""
    ACYLDQCAq9YA24UqAOANVAENNzYBLFbiAieKQQKoMcUDSmcPA1GDSgNvejIDcwMfA97gmwUee9UGTuwMBrl3ZQdS
    esUH35qZCJcMTAiugAMI70WNCbLo/wsURnQLNhZwC4uGEwzzWmMM9MCODSY/ig3AbZAN26G4DdxWgg3nII4N+5TM
    DmTH3g70D+cPz9QYEDLVbhCfYlkRLTFZEUbjfBJpnUwT2OQhFA5ByRRaDhgU4ihtFj951xiq/swY5Kw/GbReLBoX
    4WMaeckmG2W0ZxuMWDUcd6xuHaRSLB5DzqAeac6FH5fuJB+zmkggA5SwIGg0tiGvjMgiQw/8I9Y4qyR20C8k1QlF
    JT2YGSVIwnwlauruJbT+ayZYUsAoB0N2KYrowSmuemwp9JqYKgcqJyqOniEq7nu7K29MVSt1/zcriWNbLSOPTi1j
    d+QtyuJvLdcEpy4xsmwuStOHLowcWC8ijqIvXN29MBoZiTC4F5Ex7lwkMwNmUzNYdcozjKhfM6FroDPx2QY0K7Qi
    NC9HxTRfif40w4LPNZhKxjaiIuM29z7ONwy95jgNImw5NoWlOtj4bzs+EJs7U3VoPIrH2D5e4vQ+sphEPrTM30A9
    Ce9AZJdLQdSgiUItw49CRH7cQkUo50Jthy9DCdbgQ9Bfd0QJWxJEKqhRRI4w5ESg/TVEqUHuRNMQkEVDe+9FXdYx
    RXDYn0Wkx/VF/qioRl/wD0cV3aNIEmUsSCImrUhJPTZImhCiSfvhvEoU0TpKwLtsSz1mU0xrM45MjDo0TR6BfE2M
    LAJN+PRATpehjU7J6j1O+NKWTwkEeE9pMcRRC3UzUVFEbVHhxRxR4zqRUnQR8FKvlLVTj0H0VK9CmlTpOhlVOJge
    VrBjO1bEWqNW1MF0WDN3zlhHljVYWi98WKzdq1qJIC9bFUqLW68b3Vv3prhc86KoXqL1Ll7V1MRgXMGnYSNbmmGE
    +PJi+OUpZIMGxmSO1HVkqOosZLNOM2Uxc1NlXYnWZajvuWWrnZllw/w+ZnFwEWbnlPJnNTOqZ0CoYGeR2AlnsRjD
    Z7pZw2fDaV1n19k4Z/Kn/2gtGPNoLxW5aDuZ9WiiuTlovbqBaWY3w2myeWdrBY5Gaw+tw2sz8XNtcJYvbqIJjW76
    yuJw9TbacaW2C3HidrhyEf4vc0m6vHQUeix0nGsUdRegfnVkZ4519BLFdf4HI3Y/HjF24N0edxLTGneNlhh3qpGY
    d9IjC3hZc215PFx/fCZJd3w5NrB8WfAyfF45+Xxonfd8kzlPfMYn8X3WJ7B/YBBtf4yFwn/4RZKASet9gHgCb4Cx
    Fp2Bv9UWgg/zTIJGtK+Ca9W+gsZQooOMWfiD1ASUhAItoIQqBLmEKynlhSSTIYZ95NyGq9y4iAcc/IhLzfqIxefb
    ie8YXYrH3EiLHdRWjURye41ZI1SOBRhljhwuuo5Z+SuOb6ltjskRzY+8R5eP2XC7kHDUs5F6oNaRirTakjg43pNA
    twCTdvTPlQ+HtpUd66OVI8z7lSmS35VFKfmVs9y/ldPO85ah8LeWq3mamK4oUJmNuH6Z+FrFmwAYkpsGWRCcHfUF
    nHc9sZyHyN6coSglnKfCrZ2pJhWeZWRQnnAauJ6yi8OfXbqSn51Zb6AeuKGhJz2xoS6H/6KFUaOixcFjoxWYPKOZ
    mg6kf/sRpQ1lbKVATRWlVAI2pagQPaXeASKml4Rqp1oREaj5o3Kpk8oBqn18wqq1TIKq5CH8qw4rLquUk4GteAtm
    rk+aa6673umvE4owryqyra9cxt6v9DyzsLumLrEbaCCxSpYYsbTzqrLw68iz+pOrtanHr7ZtdQW3Kwp/t5wVzLfC
    Bgq36AowuD9BNriDo3S5la39uZueobrqnmK7atiSvBoEb7xAvU28hTiTvRLnIb7bJ6i/4FQXv+0eS8Cz5EnA6vhG
    wOtDrcLD17rDclayxcVDEcXGnsHGEMTJxtV0A8csOE7HsKzSx9ZSkci01/vJEYdKyY4m9cnOi3LK8e4Zy6grA8vw
    FF7Mhj8pzKKHWMzL/RXNL9bkzdXMXM4dF9POSN+2zmvG/dAO4JPRmbNQ0akk0tJ+6tvTR1iy1CwbyNSv4f/UwS+0
    1RJWl9U9OhPVSTAL1deAN9dAlj7Xd9RE18CLi9gPdF/YvKe22MbBzNj6O7naH0Tl2iMOFtrMslDbSxAF22CJGNti
    JInbv4o028jENtyBNzXdeBBj3Xjbnd4lYazeYpWL3m05+d7J4jTe1sAB3z9fMN9lSj3fp7Z74bCi6+ICEP/iYgbn
    43uAnuQEeInkCF9o5IvKReTJmfnluXqr5vRta+b6iuXnNBM554kcgOfQpFnn4w+L6QNC2eli0snsNu/v7EcLfOxk
    c3Xskouv7QJ0/O14MBLtr8Uh7m78qu6WgILwIvS78PgccPD6tS7xAOeU8V8BxvISkLfyQmu+8zbZofVYyln1sJ6s
    9efS3PYXOtz3GU+Y92CMeveSz9v3pAKC98piqvf6nTD4GaWJ+KPUePlj9An5ZPza+XkuL/mQJwr6999B/DO/Nfy2
    qsT8+0xJ/YHzYP6bwLP+oyjO/1S3gf+JfSM=
""")
