from . import codec as codec
from . import entropy as entropy
from . import quant as quant
from . import stats as stats

version: str

def isa() -> str: ...
def available_isa() -> str: ...
