select
  id as contenttype_id,
  app_label || '.' || model as contenttype_name
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__app__postgres__django_content_type') }}
