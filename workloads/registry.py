"""Every workload by name. A new one is a line here, a file beside, a YAML in conf/algorithm.

The first two, of neural models, have no option of their own: the options of the FedAvg family
say how the server steps, and ``algorithm.workload`` which sum it steps with.
"""

from workloads.als.als import Als
from workloads.base import Workload
from workloads.gan import Gan
from workloads.gradient_sum import GradientSum
from workloads.histograms.ebm import Ebm
from workloads.marginals.marginals import Marginals
from workloads.model_update import ModelUpdate
from workloads.qfedavg import QFedAvg
from workloads.statistics.glm import Glm
from workloads.statistics.statistics import Statistics
from workloads.survival.cox import Cox
from workloads.survival.kaplan_meier import KaplanMeier
from workloads.trees.forest import Forest, Tree
from workloads.trees.gbdt import Gbdt

WORKLOADS: dict[str, type[Workload]] = {
    "model_update": ModelUpdate,
    "gradient_sum": GradientSum,
    "qfedavg": QFedAvg,
    "glm": Glm,
    "statistics": Statistics,
    "marginals": Marginals,
    "ebm": Ebm,
    "gbdt": Gbdt,
    "forest": Forest,
    "tree": Tree,
    "kaplan_meier": KaplanMeier,
    "cox": Cox,
    "als": Als,
    "gan": Gan,
}
