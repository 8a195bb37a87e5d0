"""Published losses of others, each in a file of its own with its source; docs/zoo.md lists them."""

from nglkeras.losses.zoo.asymmetric import (
    AsymmetricMultiLabel,
    AsymmetricSingleLabel,
    asymmetric_multi_label,
    asymmetric_single_label,
)
from nglkeras.losses.zoo.crossentropy import Crossentropy, crossentropy
from nglkeras.losses.zoo.cse_autoloss import CSEAutolossB, cse_autoloss_b
from nglkeras.losses.zoo.focal import Focal, SparseFocal, focal, sparse_focal
from nglkeras.losses.zoo.generalized_crossentropy import (
    GeneralizedCrossentropy,
    generalized_crossentropy,
)
from nglkeras.losses.zoo.mean_absolute_error import MeanAbsoluteError, mean_absolute_error
from nglkeras.losses.zoo.poly1 import Poly1, poly1
from nglkeras.losses.zoo.sparse_lsr import SparseLSR, sparse_lsr
from nglkeras.losses.zoo.taylor_glo import TAYLOR_GLO, TaylorGLO, taylor_glo
