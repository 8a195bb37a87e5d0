window.explorerData = {
 "epsilon": 1e-08,
 "limits": {
  "length": 30000,
  "size": 1000,
  "height": 100,
  "constant": 100000000.0,
  "shown": "1e+08"
 },
 "names": {
  "y_true": "y_true",
  "y_pred": "y_pred",
  "y_real": "y_true"
 },
 "instead": {
  "\u2212": "-",
  "\u2010": "-",
  "\u2011": "-",
  "\u2012": "-",
  "\u2013": "-",
  "\u2014": "-",
  "\ufe63": "-",
  "\uff0d": "-",
  "\u00d7": "*",
  "\u22c5": "*",
  "\u00b7": "*",
  "\u2219": "*",
  "\u2022": "*",
  "\u2217": "*",
  "\u2715": "*",
  "\u2716": "*",
  "\u00f7": "/",
  "\u2215": "/",
  "\u2044": "/",
  "\u00b2": "**2",
  "\u221a": "sqrt()"
 },
 "keywords": [
  "False",
  "None",
  "True",
  "and",
  "as",
  "assert",
  "async",
  "await",
  "break",
  "class",
  "continue",
  "def",
  "del",
  "elif",
  "else",
  "except",
  "finally",
  "for",
  "from",
  "global",
  "if",
  "import",
  "in",
  "is",
  "lambda",
  "nonlocal",
  "not",
  "or",
  "pass",
  "raise",
  "return",
  "try",
  "while",
  "with",
  "yield"
 ],
 "losses": [
  {
   "name": "f1",
   "label": "f1\u2020",
   "formula": "exp(square(sin(y_true)))/(2*sqrt((1.5494 - y_true)*y_pred))",
   "reduction": "mean",
   "group": "The papers"
  },
  {
   "name": "f2",
   "label": "f2\u2020",
   "formula": "cos(-y_true)/sqrt(y_pred)*(3.1868*y_true + y_pred) + sqrt(y_pred)",
   "reduction": "mean",
   "group": "The papers"
  },
  {
   "name": "f3",
   "label": "f3\u2020",
   "formula": "sqrt(y_true/y_pred + y_pred/2.4428)",
   "reduction": "mean",
   "group": "The papers"
  },
  {
   "name": "f4",
   "label": "f4",
   "formula": "sin(sin(y_pred - 2.6085) + square(y_true))",
   "reduction": "mean",
   "group": "The papers"
  },
  {
   "name": "NGL",
   "label": "f5 (NGL)",
   "formula": "exp(2.4092 - y_pred*(1 + y_true)) - cos(cos(sin(y_pred)))",
   "reduction": "mean",
   "group": "The papers"
  },
  {
   "name": "Baikal",
   "label": "Baikal",
   "formula": "-(log(y_pred) - y_true/y_pred)",
   "reduction": "mean",
   "group": "The papers"
  },
  {
   "name": "BaikalCMA",
   "label": "BaikalCMA",
   "formula": "-2.7279*(0.9863*log(1.5352*y_pred) - 1.8158*y_true/y_pred)",
   "reduction": "mean",
   "group": "The papers"
  },
  {
   "name": "CE",
   "label": "CE",
   "formula": "-y_true*log(y_pred)",
   "reduction": "sum",
   "group": "Others"
  },
  {
   "name": "SCE",
   "label": "SCE",
   "formula": "-0.1*y_true*log(y_pred) - 1*y_pred*log(0.0001 + 0.9999*y_true)",
   "reduction": "sum",
   "group": "Others"
  },
  {
   "name": "Focal",
   "label": "Focal",
   "formula": "-0.25*y_true*square(1 - y_pred)*log(y_pred)",
   "reduction": "sum",
   "group": "Others"
  },
  {
   "name": "NGL (sigmoid)",
   "label": "NGL (sigmoid)",
   "formula": "exp(2.4092 - 1/(1 + exp(-y_pred))*(1 + y_true)) - cos(cos(sin(1/(1 + exp(-y_pred)))))",
   "reduction": "mean",
   "group": "Others"
  },
  {
   "name": "Poly-1",
   "label": "Poly-1",
   "formula": "y_true*(2*(1 - y_pred) - log(y_pred))",
   "reduction": "sum",
   "group": "Others"
  },
  {
   "name": "GCE",
   "label": "GCE",
   "formula": "-y_true*(exp(0.7*log(y_pred)) - 1)/0.7",
   "reduction": "sum",
   "group": "Others"
  },
  {
   "name": "MAE",
   "label": "MAE",
   "formula": "2*y_true*(1 - y_pred)",
   "reduction": "sum",
   "group": "Others"
  },
  {
   "name": "TaylorGLO",
   "label": "TaylorGLO",
   "formula": "-y_pred*(1340.821104 + -21.39659488*(y_true - (-10.9408)) + 7.0513*(y_true - (-10.9408))*(y_true - (-10.9408)) + y_pred*(-177.4021445 + 2.0184*(y_true - (-10.9408)) + y_pred*7.8726))",
   "reduction": "sum",
   "group": "Others"
  },
  {
   "name": "TaylorGLO (LossGA)",
   "label": "TaylorGLO (LossGA)",
   "formula": "-y_pred*(21.54092269 + 7.83436336*(y_true - 0.8439) + -1.1313*(y_true - 0.8439)*(y_true - 0.8439) + y_pred*(-11.98111456 + -2.8569*(y_true - 0.8439) + y_pred*2.3616))",
   "reduction": "sum",
   "group": "Others"
  }
 ],
 "left_out": [
  {
   "name": "Dice",
   "why": "it is no sum of terms of the classes"
  },
  {
   "name": "CE + L2",
   "why": "its penalty is on the weights of the model"
  },
  {
   "name": "ASL (single-label)",
   "why": "it depends on the number of classes"
  },
  {
   "name": "ASL (multi-label)",
   "why": "it is defined on independent sigmoids"
  },
  {
   "name": "CSE-Autoloss-B",
   "why": "it is defined on independent sigmoids"
  },
  {
   "name": "SparseLSR",
   "why": "it depends on the number of classes"
  }
 ]
};
