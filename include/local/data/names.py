"""The source databases: named like the units that read them."""

MITXONLINE = "mitxonline__app_postgres"
OPENEDX = "mitxonline__openedx_mysql"
MITXPRO = "mitxpro__app_postgres"
DATABASES = (MITXONLINE, OPENEDX, MITXPRO)  # in the order in which a day is written
