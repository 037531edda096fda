from . import calibrate as calibrate
from . import codec as codec
from . import emit as emit
from . import entropy as entropy
from . import graph as graph
from . import model as model
from . import program as program
from . import quant as quant
from . import runtime as runtime
from . import stats as stats
from . import train as train

version: str

def isa() -> str: ...
def available_isa() -> str: ...
def cpu() -> str: ...
def cpu_names() -> list[str]: ...
