"""The report: what was asked, what came out, how sure that is and what it cost, for who has never seen the project.

`facts` gathers it from runs and records, `wording` says it in sentences, `scale` draws a criterion, `page` fills the
templates. One HTML file that needs nothing else, or Markdown beside which the pictures lie.
"""
